/** Turns Ctrl-C and SIGTERM into a request to stop cleanly. */

/**
 * Runs `work` with a signal that the first SIGINT or SIGTERM aborts, so that it can save and return.
 * A second signal ends the process at once with exit code 130.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(130);
    process.stderr.write(`\n${name}: saving a checkpoint; press Ctrl-C again to stop at once\n`);
    controller.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    return await work(controller.signal);
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}
