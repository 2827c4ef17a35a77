/** Starts programs as several ranks on this machine. */

import { type ChildProcess, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { isMpiBuilt } from '@sralign/native';
import { MAIN, type Outcome, ROOT, runCommand, runNode } from '../run.js';

/** mpirun is there and the MPI library is built; the set-up brings both for the tests where it may. */
export const hasMpi = isMpiBuilt() && spawnSync('mpirun', ['--version']).status === 0;

const ROOT_ALLOWED = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' };

/** Calls `action` when the process has printed `text` on stderr, once. */
export function onceOnStderr(child: ChildProcess, text: string, action: () => void): void {
  let stderr = '';
  let found = false;
  child.stderr!.on('data', (chunk: string) => {
    stderr += chunk;
    if (found || !stderr.includes(text)) return;
    found = true;
    action();
  });
}

/** Runs node with `args` as `ranks` processes. */
export function runRanks(
  ranks: number,
  args: string[],
  cwd: string,
  onStart?: (child: ChildProcess) => void,
): Promise<Outcome> {
  return runProgram(ranks, [process.execPath, ...args], cwd, onStart);
}

/** Runs any program as `ranks` processes. */
export function runProgram(
  ranks: number,
  command: string[],
  cwd: string,
  onStart?: (child: ChildProcess) => void,
): Promise<Outcome> {
  const launch = ['-np', String(ranks), '--oversubscribe', '--bind-to', 'none'];
  return runCommand('mpirun', [...launch, ...command], cwd, onStart, { ...process.env, ...ROOT_ALLOWED });
}

/** The processes that the mpirun of `sralign launch` has started, in the order of ranks. */
export function rankProcesses(launcher: number): number[] {
  const ranks = new Map<number, number>();
  const parentOf = (pid: number): number =>
    Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    try {
      if (parentOf(parentOf(Number(pid))) !== launcher) continue;
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
      const rank = /(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)/.exec(environment)?.[1];
      if (rank !== undefined) ranks.set(Number(rank), Number(pid));
    } catch {
      // Has ended meanwhile.
    }
  }
  return [...ranks].sort(([a], [b]) => a - b).map(([, pid]) => pid);
}

/** `sralign train CONFIG ...args` on so many ranks; one of them without a launcher. */
export function trainOnRanks(
  ranks: number,
  config: string,
  args: string[],
  onStart?: (child: ChildProcess) => void,
): Promise<Outcome> {
  const launch = ranks === 1 ? [] : ['launch', '--nproc', String(ranks), '--'];
  return runNode([MAIN, ...launch, 'train', config, ...args], ROOT, onStart);
}
