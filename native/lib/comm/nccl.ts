/** NCCL as the way between GPUs: the id of a job. */
import { native } from '../load.js';

/**
 * A new id by which the ranks of a job on GPUs find each other (`WorldCommunicator`). Rank 0 makes it, on the GPU of
 * `useDevice`, and gives it to the others.
 *
 * @throws NativeError (ERR_COMMUNICATION)
 */
export function ncclId(): Uint8Array {
  return native().ncclId();
}
