/** `sralign launch`: several ranks on this machine, which speak with one voice and end together. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parse } from 'yaml';
import { relayErrors } from '../src/mpirun-output.js';
import { lines, type Outcome, ROOT, runNode, sralign, TemporaryFolder } from './run.js';
import { tinyConfig } from './tiny.js';

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

/** The processes that have `argument` among their arguments, which ranks have in their environment. */
function processesWith(argument: string): Process[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .flatMap(name => {
      try {
        const parts = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
        const environment = readFileSync(`/proc/${name}/environ`, 'utf8');
        return parts.includes(argument) || environment.includes(JSON.stringify(argument))
          ? [{ pid: Number(name), arguments: parts }]
          : [];
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
    using folder = new TemporaryFolder();
    const set = [
      'training.maxSteps=1',
      'training.threads=null',
      'data.eval=[]',
      'evaluation.everySteps=null',
    ];
    const args = ['train', tinyConfig(folder), ...set.flatMap(change => ['--set', change])];
    const { code, stderr } = await sralign(['launch', '--nproc', '2', ...args]);
    expect(code).toBe(0);
    const threads = Math.max(1, Math.floor(availableParallelism() / 2));
    expect(stderr).toMatch(new RegExp(`, ${threads} threads$`, 'm'));
    expect(stderr).toContain('2 ranks on ');
  });

  it.each([':', ' : -np 1 touch b', 'two\nlines "quoted"'])('passes on %j as it is', async text => {
    using folder = new TemporaryFolder();
    const set = [`augmentation.prompt=${JSON.stringify(text)}`, 'training.maxSteps=1', 'method=sft'];
    const args = ['train', tinyConfig(folder), ...set.flatMap(change => ['--set', change])];
    const { code } = await sralign(['launch', '--nproc', '1', '--', ...args]);
    expect(code).toBe(0);
    const { augmentation } = parse(readFileSync(folder.join('run/config.yaml'), 'utf8'));
    expect(augmentation.prompt).toBe(text);
  });

  it('lets no argument start another program', async () => {
    using folder = new TemporaryFolder();
    const file = folder.join('touched');
    const args = ['train', tinyConfig(folder), ':', '-np', '1', 'touch', file];
    const { code, stderr } = await sralign(['launch', '--nproc', '1', '--', ...args]);
    expect(stderr).toContain("unknown option '-np'");
    expect(code).toBe(2);
    expect(existsSync(file)).toBe(false);
  });

  it('leaves OMP_NUM_THREADS as it is', async () => {
    vi.stubEnv('OMP_NUM_THREADS', '3');
    using folder = new TemporaryFolder();
    const set = ['training.maxSteps=1', 'training.threads=null', 'method=sft'].flatMap(of => ['--set', of]);
    const { stderr } = await sralign(['launch', '--nproc', '1', '--', 'train', tinyConfig(folder), ...set]);
    expect(stderr).toMatch(/, 3 threads$/m);
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
    const { code, stderr } = await sralign(['launch', '--nproc', '2', 'train', 'x.yaml']);
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

  it('says it once to programs too', async () => {
    const { code, stdout } = await sralign([
      'launch',
      '--nproc',
      '2',
      'train',
      '/nowhere/config.yaml',
      '--json',
    ]);
    expect(code).toBe(2);
    const { error } = JSON.parse(stdout) as { error: Record<string, unknown> };
    expect(error).toMatchObject({ exitCode: 2, message: expect.stringContaining('/nowhere/config.yaml') });
  });

  it.each(['doctor', 'generate', 'trian'])(
    'refuses %s, which several ranks do not run together',
    async command => {
      const { code, stderr } = await sralign(['launch', '--nproc', '2', '--', command]);
      expect(stderr).toBe(`error: '${command}' does not run on several ranks; launch starts: train\n`);
      expect(code).toBe(2);
    },
  );

  it('is stopped by one signal where there is nothing to save yet', async () => {
    const { outcome } = await endWaitingJob(launcher => process.kill(launcher, 'SIGTERM'));
    expect(outcome).toMatchObject({ code: 130, stdout: '' });
  });

  /** The files of a launcher's job in shared memory. */
  const sharedOf = (launcher: number): string[] =>
    readdirSync('/dev/shm')
      .filter(name => name.includes(`-${launcher}-`))
      .flatMap(name => readdirSync(join('/dev/shm', name), { recursive: true, encoding: 'utf8' }));

  it('leaves no process behind when it is killed, and no shared memory when the next one has started', async () => {
    let killed = 0;
    const { outcome } = await endWaitingJob(launcher => {
      killed = launcher;
      expect(sharedOf(launcher)).not.toEqual([]);
      process.kill(launcher, 'SIGKILL');
    });
    expect(outcome.code).toBeNull();
    await sralign(['launch', '--nproc', '1', 'train', '/nowhere/config.yaml']);
    expect(sharedOf(killed)).toEqual([]);
  });

  it('leaves no process and no shared memory behind when mpirun is killed', async () => {
    let started = 0;
    const { outcome } = await endWaitingJob((launcher, mpirun) => {
      started = launcher;
      process.kill(mpirun, 'SIGKILL');
    });
    expect(outcome.code).toBe(1);
    expect(sharedOf(started)).toEqual([]);
  });

  describe('while the ranks train', () => {
    const quick = ['--set', 'data.eval=[]', '--set', 'evaluation.everySteps=null'];

    /** Calls `act` once, when the second step is done. */
    const train = (
      config: string,
      more: string[],
      act?: (launcher: ChildProcess) => void,
    ): Promise<Outcome> =>
      sralign(['launch', '--nproc', '2', 'train', config, ...quick, ...more], undefined, child => {
        let acted = act === undefined;
        child.stderr!.on('data', (text: string) => {
          if (acted || !text.includes('step 2/')) return;
          acted = true;
          act!(child);
        });
      });

    it('saves on Ctrl-C, exits with 130, and goes on', { timeout: 120_000 }, async () => {
      using folder = new TemporaryFolder();
      const config = tinyConfig(folder);
      const steps = ['--set', 'training.maxSteps=100'];
      const stopped = await train(config, steps, launcher => launcher.kill('SIGINT'));
      expect(stopped.stderr.match(/saving a checkpoint/g)).toHaveLength(1);
      expect(stopped.stdout).toContain('Go on with --resume');
      expect(stopped.code).toBe(130);
      expect(existsSync(folder.join('run/final'))).toBe(false);

      const resumed = await train(config, [...steps, '--resume']);
      expect(resumed.stderr.match(/resumed from step \d+/g)).toHaveLength(1);
      expect(resumed.stdout.match(/^steps +100$/gm)).toHaveLength(1);
      expect(resumed.code).toBe(0);
    });

    it('stops at once on a second Ctrl-C', { timeout: 120_000 }, async () => {
      using folder = new TemporaryFolder();
      const config = tinyConfig(folder);
      const stopped = await train(config, ['--set', 'training.maxSteps=100000'], launcher => {
        launcher.kill('SIGINT');
        launcher.stderr!.on('data', (text: string) => {
          if (text.includes('saving a checkpoint')) launcher.kill('SIGINT');
        });
      });
      expect(stopped.code).toBe(130);
      await until('no rank is left', () => (processesWith(config).length === 0 ? true : undefined));
    });

    it('says once that a rank was killed', { timeout: 120_000 }, async () => {
      using folder = new TemporaryFolder();
      const config = tinyConfig(folder);
      const { code, stderr } = await train(config, ['--set', 'training.maxSteps=100000'], () => {
        const ofRank1 = processesWith(config).find(({ pid }) =>
          readFileSync(`/proc/${pid}/environ`, 'utf8').includes('\0OMPI_COMM_WORLD_RANK=1\0'),
        );
        process.kill(ofRank1!.pid, 'SIGKILL');
      });
      const failures = lines(stderr).filter(line => line.startsWith('sralign: '));
      expect(failures).toEqual([expect.stringMatching(/^sralign: rank 1 on .* (killed|ended)/)]);
      expect(code).toBe(1);
      await until('no rank is left', () => (processesWith(config).length === 0 ? true : undefined));
    });

    it('says once that a training thread has run out of memory', async () => {
      vi.stubEnv('NODE_OPTIONS', '--max-old-space-size=20');
      using folder = new TemporaryFolder();
      const { code, stderr } = await train(tinyConfig(folder), ['--set', 'data.maxTrainPairs=null']);
      const failures = lines(stderr).filter(line => line.startsWith('sralign: '));
      expect(failures).toEqual([
        expect.stringMatching(/^sralign: rank [01] on .*memory that JavaScript may have/),
      ]);
      expect(code).toBe(1);
    });
  });
});

describe('ranks that others start', () => {
  /** Runs `sralign train CONFIG` with these variables in its environment. */
  const rank = (variables: Readonly<Record<string, string>>, config: string): Promise<Outcome> => {
    const setting = `data:text/javascript,Object.assign(process.env, ${JSON.stringify(variables)})`;
    return runNode(['--import', setting, join(ROOT, 'packages/cli/dist/main.js'), 'train', config], ROOT);
  };

  it('find each other by MASTER_ADDR and MASTER_PORT, and fail together', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    using folder = new TemporaryFolder();
    const config = tinyConfig(folder);
    const job = { WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(port) };
    const outcomes = await Promise.all([
      rank({ ...job, RANK: '0' }, config),
      rank({ ...job, RANK: '1' }, folder.join('missing.yaml')),
    ]);
    expect(outcomes.map(({ stdout, code }) => ({ stdout, code }))).toEqual([
      { stdout: '', code: 2 },
      { stdout: '', code: 2 },
    ]);
    expect(outcomes[0].stderr).toMatch(
      /^waiting for 1 other rank at 127.*\nsralign: rank 1 on .*missing\.yaml.*\n$/,
    );
    expect(outcomes[1].stderr).toBe('');
  });

  it('say what is missing where nothing tells how to find the others', async () => {
    const { code, stderr } = await rank({ WORLD_SIZE: '2', RANK: '1' }, 'config.yaml');
    expect(stderr).toMatch(/^sralign: This is rank 1 of 2, but .*`srun --mpi=pmix`/);
    expect(code).toBe(2);
  });
});

describe('the standard error of mpirun', () => {
  const rule = '-'.repeat(74);
  const relayed = async (...errors: string[]): Promise<unknown> => {
    let written = '';
    const ending = await relayErrors(Readable.from(errors.map(line => `${line}\n`)), text => {
      written += text;
    });
    return { written, ...ending };
  };

  it('is passed on without repetitions, and with what mpirun alone knows', async () => {
    const repetition = [rule, 'Primary job  terminated normally, but 1 process returned', 'a code.', rule];
    expect(
      await relayed('step 1', ...repetition, rule, 'There are not enough slots', rule, 'step 2'),
    ).toEqual({
      written: 'step 1\nThere are not enough slots\nstep 2\n',
      killed: null,
      exited: null,
      explained: false,
    });
  });

  it('names the rank that was killed', async () => {
    const noticed = 'mpirun noticed that process rank 3 with PID 7 on node b exited on signal';
    expect(await relayed(rule, `${noticed} 11 (Segmentation fault).`, rule)).toEqual({
      written: '',
      killed: 'rank 3 on b ended by signal 11 (Segmentation fault)',
      exited: null,
      explained: false,
    });
    expect(await relayed('sralign: rank 3 on b: why', rule, `${noticed} 9 (Killed).`, rule)).toMatchObject({
      written: 'sralign: rank 3 on b: why\n',
      explained: true,
    });
  });
});
