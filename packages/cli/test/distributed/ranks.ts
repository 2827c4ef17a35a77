/** Starts programs as several ranks on this machine. */

import type { ChildProcess } from 'node:child_process';
import { spawnSync } from 'node:child_process';
import { type Outcome, runCommand } from '../run.js';

/** mpirun is there; the set-up installs it for the tests where it may. */
export const hasMpi = spawnSync('mpirun', ['--version']).status === 0;

const ROOT_ALLOWED = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' };

/** Runs node with `args` as `ranks` processes. */
export function runRanks(
  ranks: number,
  args: string[],
  cwd: string,
  onStart?: (child: ChildProcess) => void,
): Promise<Outcome> {
  const launch = ['-np', String(ranks), '--oversubscribe', '--bind-to', 'none', '-q'];
  return runCommand('mpirun', [...launch, process.execPath, ...args], cwd, onStart, {
    ...process.env,
    ...ROOT_ALLOWED,
  });
}
