/** `sralign launch --nproc N COMMAND ...`: N processes of a command on this machine, the ranks of one job, under mpirun. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { availableParallelism, constants } from 'node:os';
import { Command } from 'commander';
import { onStopRequests } from '../interrupt.js';
import { LaunchFolder } from '../launch-folder.js';
import { LAUNCHED, RANK_COMMANDS } from '../launched.js';
import { relayErrors } from '../mpirun-output.js';
import { examples, wholeNumber } from '../options.js';
import { isForPrograms } from '../report/error-record.js';

/** Open MPI's options: as many ranks as asked for, each on any core. */
const MPIRUN = ['--oversubscribe', '--bind-to', 'none'];
/** This machine only, whatever the allocation of a batch system is. */
const THIS_MACHINE = ['--mca', 'plm', 'isolated', '--mca', 'ras', '^slurm,tm,lsf,gridengine,alps'];
/** A job of its own: these of the surroundings would name other ranks. */
const OF_OTHER_JOBS = ['RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'];

export function launchCommand(): Command {
  return new Command('launch')
    .summary('train with several processes on this machine')
    .description(
      'Starts the command that follows in N processes on this machine, which train one model together: mpirun of ' +
        'Open MPI with suitable options. Ctrl-C saves a checkpoint, as in one process. Every process computes with ' +
        'cores / N threads unless OMP_NUM_THREADS is set. Several machines: docs/distributed.md.',
    )
    .requiredOption('--nproc <n>', 'number of processes (ranks)', wholeNumber(1))
    .argument('<command...>', 'the command and its arguments, as in train config.yaml')
    .allowUnknownOption() // those of the command
    .addHelpText(
      'after',
      examples(
        'sralign launch --nproc 2 train examples/demo/sft.yaml',
        'sralign launch --nproc 2 -- train examples/demo/sft.yaml --resume',
      ),
    )
    .action(launch);
}

async function launch(command: string[], { nproc }: { nproc: number }, self: Command): Promise<void> {
  if (!RANK_COMMANDS.includes(command[0]!))
    self.error(
      `error: '${command[0]}' does not run on several ranks; launch starts: ${RANK_COMMANDS.join(', ')}`,
    );
  await requireOpenMpi();
  const debug = self.optsWithGlobals().debug === true ? ['--debug'] : [];
  const node = [process.execPath, ...process.execArgv, process.argv[1]!];
  const args = ['-np', String(nproc), ...MPIRUN, ...THIS_MACHINE, ...node];
  using folder = new LaunchFolder();
  // In a session of its own: the terminal sends Ctrl-C to all its processes, and mpirun would end the ranks at once.
  // Its standard input stays open for as long as this process lives (see launched.ts).
  const child = spawn('mpirun', args, {
    env: { ...folder.environment, ...environmentOf(nproc, [...command, ...debug]) },
    stdio: ['pipe', 'inherit', 'pipe'],
    detached: true,
  });
  const { exitCode, said } = await endOf(child);
  process.exitCode = exitCode;
  if (exitCode === 0 || exitCode === 130 || !isForPrograms(command)) return;
  const message = said ?? 'The job failed.';
  const code = exitCode === 2 ? 'ERR_USAGE' : 'ERR_RUN';
  process.stdout.write(`${JSON.stringify({ error: { code, exitCode, message } })}\n`);
}

function environmentOf(nproc: number, command: readonly string[]): NodeJS.ProcessEnv {
  const threads = Math.max(1, Math.floor(availableParallelism() / nproc));
  const environment: NodeJS.ProcessEnv = {
    OMP_NUM_THREADS: String(threads),
    ...process.env,
    [LAUNCHED]: JSON.stringify(command),
  };
  for (const name of OF_OTHER_JOBS) delete environment[name];
  if (process.getuid?.() === 0) {
    // A container has no other user; mpirun wants to be told twice.
    environment.OMPI_ALLOW_RUN_AS_ROOT = '1';
    environment.OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = '1';
  }
  return environment;
}

/** Passes requests to stop on until mpirun ends; returns the exit code of the job, and what was said of its failure. */
async function endOf(child: ChildProcess): Promise<{ exitCode: number; said: string | null }> {
  let said: string | null = null;
  const say = (text: string): void => {
    if (/^(sralign|error): /.test(text)) said = text.trim();
    process.stderr.write(text);
  };
  let requests = 0;
  const stopListening = onStopRequests(count => {
    requests = count;
    // mpirun forwards SIGUSR2 to the ranks, which save and end; SIGTERM makes it end them within a second.
    child.kill(requests === 1 ? 'SIGUSR2' : 'SIGTERM');
  });
  try {
    const [code, { killed, exited, explained }] = await Promise.all([
      new Promise<number | null>((resolve, reject) => {
        child.on('error', reject).on('close', resolve);
      }),
      relayErrors(child.stderr!, say),
    ]);
    // Before a rank has anything to save, the first request ends it.
    const endedByRequest = requests > 0 && code === 128 + constants.signals.SIGUSR2;
    if (requests > 1 || endedByRequest) return { exitCode: 130, said };
    if (killed === null && code !== null) {
      if (exited !== null && !explained) say(`sralign: ${exited}\n`);
      return { exitCode: code, said };
    }
    const reason = killed ?? 'mpirun was killed, and all ranks with it; train --resume goes on';
    if (!explained) say(`sralign: ${reason}\n`);
    return { exitCode: 1, said };
  } finally {
    stopListening();
  }
}

async function requireOpenMpi(): Promise<void> {
  const { stdout, error } = spawnSync('mpirun', ['--version'], { encoding: 'utf8' });
  if (error === undefined && stdout.includes('Open MPI')) return;
  const { ConfigError } = await import('@sralign/core');
  throw new ConfigError(
    error === undefined
      ? 'The mpirun found here is not that of Open MPI.'
      : `mpirun is not there: ${error.message}.`,
    {
      hint:
        'Install Open MPI (Debian and Ubuntu: "apt-get install openmpi-bin libopenmpi-dev"), run "npm run build" ' +
        'and see that its mpirun comes first in PATH.',
    },
  );
}
