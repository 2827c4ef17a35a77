/** `sralign launch`: several ranks on this machine, which speak with one voice and end together. */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { lines, type Outcome, sralign, TemporaryFolder } from './run.js';

const DEADLINE_MS = 50_000;

async function until<T>(what: string, look: () => T | undefined): Promise<T> {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`Not within ${DEADLINE_MS} ms: ${what}`);
    await delay(50);
  }
}

interface Process {
  pid: number;
  arguments: string[];
}

/** The processes that have `argument` among their arguments. */
function processesWith(argument: string): Process[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .flatMap(name => {
      try {
        const parts = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
        return parts.includes(argument) ? [{ pid: Number(name), arguments: parts }] : [];
      } catch {
        return []; // has ended meanwhile
      }
    });
}

/** A configuration that is never finished: its readers wait until it is closed, in a job that is joined. */
class EndlessConfig implements Disposable {
  readonly path: string;
  #writer: number | undefined;

  constructor(folder: TemporaryFolder) {
    this.path = folder.join('endless.yaml');
    execFileSync('mkfifo', [this.path]);
  }

  /** Returns when the first rank has opened the file: it has joined the job, so all have. */
  async isRead(): Promise<void> {
    this.#writer = await until(`${this.path} is read`, () => {
      try {
        return openSync(this.path, constants.O_WRONLY | constants.O_NONBLOCK);
      } catch {
        return undefined; // no reader yet
      }
    });
  }

  [Symbol.dispose](): void {
    if (this.#writer !== undefined) closeSync(this.#writer);
  }
}

/** Starts a job of two ranks that waits, and ends it with `end`, which gets the pid of the launcher and of mpirun. */
async function endWaitingJob(
  end: (launcher: number, mpirun: number) => void,
): Promise<{ outcome: Outcome; left: () => Process[] }> {
  using folder = new TemporaryFolder();
  using config = new EndlessConfig(folder);
  const job = sralign(['launch', '--nproc', '2', 'train', config.path]);
  await config.isRead();
  const processes = processesWith(config.path);
  const find = (text: string): number => processes.find(of => of.arguments.includes(text))!.pid;
  const mpirun = processes.find(of => of.arguments[0] === 'mpirun')!.pid;
  expect(processes).toHaveLength(4); // the launcher, mpirun and the ranks
  end(find('--nproc'), mpirun);
  const outcome = await job;
  const left = (): Process[] => processesWith(config.path);
  await until('no process is left', () => (left().length === 0 ? true : undefined));
  return { outcome, left };
}

describe('sralign launch', () => {
  beforeEach(() => vi.stubEnv('OMP_NUM_THREADS', undefined));
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it('runs the command in every process, each with its part of the cores', async () => {
    const alone = await sralign(['doctor']);
    const cores = Number(/threads +\d+ of (\d+) cores/.exec(alone.stdout)![1]);
    const { code, stdout } = await sralign(['launch', '--nproc', '2', 'doctor']);
    expect(code).toBe(0);
    const threads = Math.max(1, Math.floor(cores / 2));
    expect(stdout.match(new RegExp(`threads +${threads} of ${cores} cores`, 'g'))).toHaveLength(2);
  });

  it('leaves OMP_NUM_THREADS as it is', async () => {
    vi.stubEnv('OMP_NUM_THREADS', '3');
    const { stdout } = await sralign(['launch', '--nproc', '1', '--', 'doctor']);
    expect(stdout).toMatch(/threads +3 of /);
  });

  it('starts a job of its own, whatever its surroundings are', async () => {
    const variables = { WORLD_SIZE: '8', RANK: '5', MASTER_ADDR: '192.0.2.1', MASTER_PORT: '1' };
    for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
    const slurm = { SLURM_JOBID: '1', SLURM_NODELIST: 'a,b', SLURM_TASKS_PER_NODE: '1(x2)' };
    for (const [name, value] of Object.entries(slurm)) vi.stubEnv(name, value);
    const { code, stderr } = await sralign(['launch', '--nproc', '2', 'train', '/nowhere/config.yaml']);
    expect(stderr).toContain('/nowhere/config.yaml');
    expect(code).toBe(2);
  });

  it('says what is missing where there is no mpirun', async () => {
    using folder = new TemporaryFolder();
    vi.stubEnv('PATH', folder.path);
    const { code, stderr } = await sralign(['launch', '--nproc', '2', 'doctor']);
    expect(stderr).toMatch(/^sralign: mpirun is not there: .*apt-get install openmpi-bin/);
    expect(code).toBe(2);
  });

  it.each([
    [
      'a missing configuration',
      ['/nowhere/config.yaml'],
      /^sralign: rank [01] on .*: \/nowhere\/config\.yaml/,
    ],
    [
      'wrong usage',
      ['config.yaml', '--faster'],
      /^sralign: rank [01] on .*: error: unknown option '--faster'/,
    ],
  ])('says %s once, with the exit code of one process', async (_, args, message) => {
    const { code, stdout, stderr } = await sralign(['launch', '--nproc', '2', 'train', ...args]);
    expect(stderr).toMatch(message);
    expect(lines(stderr)).toHaveLength(1);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });

  it('is stopped by one signal where there is nothing to save yet', async () => {
    const { outcome } = await endWaitingJob(launcher => process.kill(launcher, 'SIGTERM'));
    expect(outcome).toMatchObject({ code: 130, stdout: '' });
  });

  it('leaves no process behind when it is killed', async () => {
    const { outcome } = await endWaitingJob(launcher => process.kill(launcher, 'SIGKILL'));
    expect(outcome.code).toBeNull();
  });

  it('leaves no process behind when mpirun is killed', async () => {
    const { outcome } = await endWaitingJob((_, mpirun) => process.kill(mpirun, 'SIGKILL'));
    expect(outcome.code).toBe(1);
  });
});
