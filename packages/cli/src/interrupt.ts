/** Turns Ctrl-C, SIGTERM, SIGUSR2 (of `sralign launch` and batch systems) and a closed terminal into a request to stop cleanly. */
import { hangupIsIgnored } from './hangup.js';

export interface InterruptOptions {
  /** Says what the first signal has set off. */
  readonly announce?: (text: string, signal: NodeJS.Signals) => void;
  /** Ends the process at the second signal. */
  readonly stopAtOnce?: () => void;
}

const SIGNALS: readonly NodeJS.Signals[] = [
  'SIGINT',
  'SIGTERM',
  'SIGUSR2',
  ...(hangupIsIgnored ? [] : (['SIGHUP'] as const)),
];

/**
 * Calls `stop` at every request to stop, until the result is called.
 *
 * @param stop gets how many requests there have been. A closed terminal is one of them only when it comes first: the
 *   kernel, the shell and the session's manager all tell of it, and nobody who does is in a hurry.
 */
export function onStopRequests(stop: (count: number, signal: NodeJS.Signals) => void): () => void {
  let count = 0;
  let hungUp = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (signal === 'SIGHUP') {
      const first = count === 0 && !hungUp;
      hungUp = true;
      if (first) stop(1, signal);
      return;
    }
    count++;
    if (count > 1 || !hungUp) stop(count, signal);
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return () => {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
}

/**
 * Runs `work` with a signal that the first request to stop aborts, so that it can save and return. A second one ends the
 * process at once with exit code 130.
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { announce = text => process.stderr.write(text), stopAtOnce = () => {} }: InterruptOptions = {},
): Promise<T> {
  const controller = new AbortController();
  const stopListening = onStopRequests((count, signal) => {
    if (count > 1) {
      stopAtOnce();
      process.exit(130);
    }
    controller.abort();
    announce(`\n${signal}: saving a checkpoint; press Ctrl-C again to stop at once\n`, signal);
  });
  try {
    return await work(controller.signal);
  } finally {
    stopListening();
  }
}
