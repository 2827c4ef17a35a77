/** Turns Ctrl-C, SIGTERM and SIGUSR2 (of `sralign launch` and batch systems) into a request to stop cleanly. */

export interface InterruptOptions {
  /** Says what the first signal has set off. */
  readonly announce?: (text: string, signal: NodeJS.Signals) => void;
  /** Ends the process at the second signal. */
  readonly stopAtOnce?: () => void;
}

const SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGUSR2'];

/**
 * Runs `work` with a signal that the first SIGINT, SIGTERM or SIGUSR2 aborts, so that it can save and return.
 * A second one ends the process at once with exit code 130.
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { announce = text => process.stderr.write(text), stopAtOnce = () => {} }: InterruptOptions = {},
): Promise<T> {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) {
      stopAtOnce();
      process.exit(130);
    }
    announce(`\n${name}: saving a checkpoint; press Ctrl-C again to stop at once\n`, name);
    controller.abort();
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    return await work(controller.signal);
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}
