/** Starts programs as several ranks on this machine. */

import type { ChildProcess } from 'node:child_process';
import { spawnSync } from 'node:child_process';
import { MAIN, type Outcome, ROOT, runCommand, runNode } from '../run.js';

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

/** `sralign train CONFIG ...args` on so many ranks; one of them without mpirun. */
export function trainOnRanks(
  ranks: number,
  config: string,
  args: string[],
  onStart?: (child: ChildProcess) => void,
): Promise<Outcome> {
  const command = [MAIN, 'train', config, ...args];
  return ranks === 1 ? runNode(command, ROOT, onStart) : runRanks(ranks, command, ROOT, onStart);
}
