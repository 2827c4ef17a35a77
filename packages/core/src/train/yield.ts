/** Long work gives timers, signals and progress a turn between its batches. */
import { setImmediate } from 'node:timers/promises';

/** Lets pending callbacks run. @throws the signal's reason when it is aborted */
export async function letOthersRun(signal?: AbortSignal): Promise<void> {
  await setImmediate();
  signal?.throwIfAborted();
}
