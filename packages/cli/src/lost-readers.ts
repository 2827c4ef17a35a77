/**
 * Output whose reader has gone: `2>&1 | tee log` after Ctrl-C has ended tee, a full disk behind `2> log`, a terminal that
 * was closed. Progress is then dropped; it never ends a run, nor changes its exit code.
 */
import { closeSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';

const STANDARD_STREAMS = [0, 1, 2];

/**
 * Call once, at the start. From then on nothing fails because stderr cannot be written. Losing stdout ends a command
 * whose work is what it prints (0 where the reader has gone, as in `sralign generate ... | head -1`, else 1), unless
 * `keepGoing` says that there is more to lose.
 */
export function outliveReaders(keepGoing: () => boolean): void {
  process.stderr.on('error', () => {});
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (keepGoing()) return;
    if (error.code === 'EPIPE') process.exit(0);
    process.stderr.write(`sralign: the output cannot be written (${error.message})\n`);
    process.exit(1);
  });
  const terminals = STANDARD_STREAMS.filter(isatty);
  process.on('exit', () => {
    for (const descriptor of terminals) if (!isatty(descriptor)) leaveTerminal(descriptor);
  });
}

/** Node aborts at its end when it cannot restore the settings of a terminal that has been closed. */
function leaveTerminal(descriptor: number): void {
  closeSync(descriptor);
  openSync('/dev/null', 'r+'); // takes the lowest free number, which is this one
}
