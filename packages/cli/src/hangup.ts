/**
 * SIGHUP: the terminal was closed. Whoever starts a program with the signal ignored (nohup, `trap '' HUP`) wants it to
 * go on. Node forgets that: it makes every ignored signal deadly before the first line of a program runs. So bin/sralign.js,
 * which a shell reads first, says it in the environment; and for whoever starts Node by hand under nohup, their shell
 * says in `_` what it has started.
 */
import { basename } from 'node:path';

/** Set by bin/sralign.js; inherited by the ranks of `sralign launch`. */
const variable = 'SRALIGN_SIGHUP';

export const hangupIsIgnored =
  process.env[variable] === 'ignored' || basename(process.env._ ?? '') === 'nohup';

/** Call once, at the start. */
export function keepIgnoringHangup(): void {
  if (hangupIsIgnored) process.on('SIGHUP', () => {});
}
