/**
 * Two hosts: what hosts.ts promises, and training on them. It gives the weights of one process; when a rank or the
 * network fails, all ranks end with one message, and --resume gives the weights of a run that nothing has disturbed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { TwoHosts, unavailable } from './hosts.js';
import { lines, MAIN, type Outcome, sralign, TemporaryFolder } from './run.js';
import { tinyConfig } from './tiny.js';
import { compareWeights } from './weights.js';

const reason = unavailable();
const skipped = reason === null ? '' : ` (skipped: ${reason})`;
const node = (program: string): string[] => [process.execPath, '-e', program];

/** Names of all that could be left of a pair of hosts, whose files were in `folder`. */
const traces = (name: string, folder: string): string[] => {
  const namespaces = lines(spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' }).stdout);
  const files = [tmpdir(), '/dev/shm'].flatMap(folder => (existsSync(folder) ? readdirSync(folder) : []));
  const named = [...namespaces, ...files].filter(text => text.includes(name));
  return existsSync(folder) ? [...named, folder] : named;
};

describe.skipIf(reason !== null)(`two hosts${skipped}`, () => {
  it('run the ranks of one mpirun', async () => {
    using hosts = new TwoHosts();
    const program =
      "console.log(process.env.OMPI_COMM_WORLD_RANK + ' on ' + os.hostname()); console.error('error')";
    const { code, stdout, stderr } = await hosts.mpirun(2, node(program));
    const [a, b] = hosts.names;
    expect(lines(stdout).sort()).toEqual([`0 on ${a}`, `1 on ${a}`, `2 on ${b}`, `3 on ${b}`]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: 'error\n'.repeat(4) });
  });

  it('have a network that can be cut and mended', () => {
    using hosts = new TwoHosts();
    // Nobody listens: a host that is reached refuses.
    const reach = (host: 0 | 1, name: string): string => {
      const program = `
        const socket = net.connect(1, ${JSON.stringify(name)});
        const end = text => { console.log(text); process.exit(); };
        socket.on('error', error => end(error.code));
        setTimeout(end, 10_000, 'silence')`;
      return hosts.on(host, ...node(program)).trim();
    };
    const reachable = (): boolean[] =>
      ([0, 1] as const).map(host => reach(host, hosts.names[1 - host]!) === 'ECONNREFUSED');
    expect(reachable()).toEqual([true, true]);
    hosts.cut();
    expect(reachable()).toEqual([false, false]);
    hosts.mend();
    expect(reachable()).toEqual([true, true]);
  });

  it('leave nothing behind, of a job that goes on neither', async () => {
    let pids: number[] = [];
    let name = '';
    let folder = '';
    let job: ReturnType<TwoHosts['mpirun']>;
    {
      using hosts = new TwoHosts();
      name = hosts.names[0].slice(0, -2);
      folder = hosts.folder.path;
      await new Promise<void>(settle => {
        job = hosts.mpirun(1, node("setInterval(() => {}, 1000); console.log('up')"), mpirun => {
          let up = '';
          mpirun.stdout!.on('data', (text: string) => {
            up += text;
            if (lines(up).length === 2) settle();
          });
        });
      });
      const [a, b] = hosts.names;
      expect(hosts.ranks()).toMatchObject([
        { rank: 0, host: a },
        { rank: 1, host: b },
      ]);
      hosts.cut();
      pids = hosts.processes();
      expect(traces(name, folder)).toEqual(expect.arrayContaining([...hosts.names, folder]));
    }
    expect(await job!).toMatchObject({ code: null, stderr: '' });
    expect(pids.length).toBeGreaterThanOrEqual(4); // mpirun, its daemon and the ranks
    expect(pids.filter(pid => existsSync(`/proc/${pid}/exe`))).toEqual([]);
    expect(traces(name, folder)).toEqual([]);
  });
});

const ENDED_WITHIN_MS = 30_000;
const TIMEOUT_MS = 240_000;
const SETTINGS = [
  'training.maxSteps=24',
  'checkpoint.everySteps=4',
  'evaluation.everySteps=20',
  'optimizer.learningRate=1e-5',
];
const AT_FAILURE = 'step 5/24 ';
const PROGRESS = /^(step|checkpoint|evaluation at step) /;

const trainArguments = (folder: TemporaryFolder): string[] => [
  'train',
  tinyConfig(folder),
  ...SETTINGS.flatMap(setting => ['--set', setting]),
];
const weightsOf = (folder: TemporaryFolder): string => folder.join('run/final/model.safetensors');

describe.skipIf(reason !== null)(`training on two hosts${skipped}`, () => {
  let hosts: TwoHosts;
  let undisturbed: TemporaryFolder;

  const train = (args: string[], onStderr: (text: string) => void = () => {}): Promise<Outcome> =>
    hosts.mpirun(2, [process.execPath, MAIN, ...args], mpirun => mpirun.stderr!.on('data', onStderr));

  /** Trains until it calls `fail`, at step 5; returns what that made of it, and when the last rank was gone. */
  async function trainAndFail(args: string[], fail: () => void): Promise<Outcome & { ranksMs: number }> {
    let stderr = '';
    let failedMs: number | null = null;
    let ended = false;
    const job = train(args, text => {
      stderr += text;
      if (failedMs !== null || !stderr.includes(AT_FAILURE)) return;
      failedMs = performance.now();
      fail();
    }).finally(() => {
      ended = true;
    });
    while (!ended && (failedMs === null || hosts.ranks().length > 0)) await delay(200);
    expect(hosts.ranks()).toEqual([]);
    const ranksMs = performance.now() - (failedMs ?? Number.NaN);
    return { ...(await job), ranksMs };
  }

  beforeAll(async () => {
    hosts = new TwoHosts();
    undisturbed = new TemporaryFolder();
    expect(await train(trainArguments(undisturbed))).toMatchObject({ code: 0 });
  }, TIMEOUT_MS);
  afterAll(() => {
    undisturbed[Symbol.dispose]();
    hosts[Symbol.dispose]();
  });

  it('gives the weights of one process', async () => {
    using alone = new TemporaryFolder();
    expect(await sralign(trainArguments(alone))).toMatchObject({ code: 0 });
    expect(compareWeights(weightsOf(undisturbed), weightsOf(alone)).relative).toBeLessThanOrEqual(1e-5);
  }, 60_000);

  it.each([
    {
      failure: 'a rank of the other host is killed',
      fail: () => process.kill(hosts.ranks()[3]!.pid, 'SIGKILL'),
      message: /^sralign: rank 3 on \S+-b ended without a word \(killed/,
    },
    {
      failure: 'the network is cut',
      fail: () => hosts.cut(),
      message: /^sralign: rank [23] on \S+-b has not been heard from for 10 s \(.* the network is cut/,
    },
  ])(
    'ends all ranks with one message when $failure, and goes on with --resume',
    async ({ fail, message }) => {
      using folder = new TemporaryFolder();
      const args = trainArguments(folder);
      const { code, stdout, stderr, ranksMs } = await trainAndFail(args, fail);
      expect(ranksMs).toBeLessThan(ENDED_WITHIN_MS);
      const said = lines(stderr.slice(stderr.indexOf(AT_FAILURE))).filter(line => !PROGRESS.test(line));
      expect(said).toEqual([expect.stringMatching(message)]);
      expect(stdout).toBe('');
      expect(code).not.toBe(0);
      // mpirun and its daemon, each of which has lost the other.
      await vi.waitFor(() => expect(hosts.processes()).toEqual([]), { timeout: 60_000, interval: 200 });

      hosts.mend();
      const resumed = await train([...args, '--resume']);
      expect(resumed).toMatchObject({ code: 0, stderr: expect.stringMatching(/resumed from step \d/) });
      expect(compareWeights(weightsOf(folder), weightsOf(undisturbed))).toMatchObject({
        relative: 0,
        max: 0,
      });
    },
    TIMEOUT_MS,
  );
});
