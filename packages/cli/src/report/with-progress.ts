/** How far a command has come with what may last: downloading, loading, saving. Said on stderr, like the progress of a run. */
import { progress } from './progress.js';

/** Makes an action of a command of one that says nothing. */
export function withProgress<Arguments extends unknown[]>(
  action: (...args: Arguments) => Promise<void>,
): (...args: Arguments) => Promise<void> {
  return async (...args) => {
    const { listenToProgress } = await import('@sralign/core');
    const show = progress(process.stderr, { everySteps: 1 });
    await listenToProgress(
      amount => show({ type: 'progress', ...amount }),
      () => action(...args),
    );
  };
}
