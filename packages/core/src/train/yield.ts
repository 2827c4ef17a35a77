/** Long work gives timers, signals and progress a turn between its batches, and is stopped there. */
import { setImmediate } from 'node:timers/promises';
import { type Communicator, SOLO } from '@sralign/native';

/** Some rank of the job was asked to stop. */
class Stopped extends Error {}

/**
 * Lets pending callbacks run. Several ranks call it at the same places, and stop there together.
 *
 * @param signal undefined where the work is not to be stopped; on all ranks or on none
 * @throws what `wasStopped` recognises, when the signal of any rank is aborted
 */
export async function letOthersRun(
  signal: AbortSignal | undefined,
  communicator: Communicator = SOLO,
): Promise<void> {
  await setImmediate();
  if (communicator.worldSize === 1) signal?.throwIfAborted();
  else if (signal !== undefined && communicator.exchange(signal.aborted).includes(true)) throw new Stopped();
}

/** Whether an error means that the work was asked to stop. */
export function wasStopped(error: unknown, signal: AbortSignal | undefined): boolean {
  return error instanceof Stopped || (signal?.aborted === true && error === signal.reason);
}
