/** MPI as the launcher of a job: the ranks it started, and a text for all of them. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { native } from '../load.js';

const library = fileURLToPath(new URL('../../build/Release/libsralign_mpi.so', import.meta.url));

/** Whether the MPI library was built: where Open MPI's compiler was found. */
export function isMpiBuilt(): boolean {
  return existsSync(library);
}

/**
 * Joins the job that an MPI launcher started; without one MPI makes a job of one rank. MPI starts once in a process and
 * serves all of its threads: later calls give the same answer.
 *
 * @throws NativeError (ERR_COMMUNICATION) where the MPI library is not built or does not open, and after `closeMpi`
 */
export function openMpi(): { rank: number; worldSize: number } {
  const [rank, worldSize] = native().mpiOpen(library);
  return { rank, worldSize };
}

/** The text that rank 0 gives, on every rank. All ranks call it. @throws NativeError (ERR_COMMUNICATION) */
export function shareText(text: string): string {
  return native().mpiShareText(text);
}

/**
 * Waits for all ranks and ends MPI, which cannot start again in this process. Call it at the end of a process that
 * called `openMpi`: the launcher takes a process that ends without it for one that failed.
 */
export function closeMpi(): void {
  native().mpiClose();
}
