/** Foreign code that may never end, such as a regular expression of a downloaded file, within a time limit. */
import { createContext, Script } from 'node:vm';

const script = new Script('task()');
const holder: { task?: () => void } = {};
const context = createContext(holder);

/**
 * Runs `task` and interrupts it after `limitMs`, wherever it is: in a loop, or inside a regular expression. It may
 * leave half-changed what it was changing. The set-up costs about a tenth of a millisecond, so put many short calls in one task.
 *
 * @param limitMs wall-clock milliseconds, a whole number from 1 on: allow for a machine under load
 * @param task synchronous; calls may be nested
 * @returns what `task` returns; what it throws passes through
 * @throws what `tooLong` makes, when the limit is reached
 */
export function runWithin<T>(limitMs: number, task: () => T, tooLong: () => Error): T {
  const outer = holder.task;
  let result: T | undefined;
  holder.task = () => {
    result = task();
  };
  try {
    script.runInContext(context, { timeout: limitMs });
    return result as T;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException | null)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw tooLong();
    throw cause;
  } finally {
    if (outer === undefined) delete holder.task;
    else holder.task = outer;
  }
}
