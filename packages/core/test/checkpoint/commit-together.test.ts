/** A folder that several ranks write: threads, which exchange values as ranks do. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { createRunFolder, latestCheckpoint } from '../../src/checkpoint/run-folder.js';
import { temporaryFolder } from '../support.js';
import { writeProgram } from './program.js';

const WORLD_SIZE = 4;
const SLOT_BYTES = 256;
/** In `writeFolderTogether`: the name, the start, and then, when all have written: */
const BEFORE_THE_OTHERS_RENAME = 3;
const BEFORE_THE_FIRST_RENAMES = 4;

/** One rank: writes a file of its own after waiting for a moment, and ends where `plan` says. */
const WRITER = `
import { setTimeout } from 'node:timers/promises';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { writeFolderTogether } from './checkpoint/commit.js';

const { rank, worldSize, folder, writes, failsIn, shared } = workerData;
const [arrived] = [new Int32Array(shared, 0, 1)];
const slots = new Uint8Array(shared, 4);
let exchanges = 0;

/** Ends when the last rank has come. */
function barrier(goal) {
  if (Atomics.add(arrived, 0, 1) + 1 === goal) Atomics.notify(arrived, 0);
  for (let seen = Atomics.load(arrived, 0); seen < goal; seen = Atomics.load(arrived, 0)) {
    Atomics.wait(arrived, 0, seen, 50);
  }
}

function exchange(value) {
  exchanges++;
  if (failsIn === exchanges) {
    parentPort.postMessage('stopped');
    process.exit();
  }
  const text = new TextEncoder().encode(JSON.stringify(value).padEnd(${SLOT_BYTES}));
  slots.set(text, rank * ${SLOT_BYTES});
  barrier((2 * exchanges - 1) * worldSize);
  const values = Array.from({ length: worldSize }, (_, i) =>
    JSON.parse(new TextDecoder().decode(slots.slice(i * ${SLOT_BYTES}, (i + 1) * ${SLOT_BYTES}))));
  barrier(2 * exchanges * worldSize);
  return values;
}

try {
  await writeFolderTogether(folder, { rank, worldSize, exchange }, async temporary => {
    await setTimeout(10 * ((rank * 7) % 4));
    if (failsIn === 'writing') throw new TypeError('stop');
    if (writes) await writeFile(join(temporary, 'part' + rank), 'x'.repeat(1000));
  });
  parentPort.postMessage('done');
} catch (error) {
  parentPort.postMessage(error.message);
}
`;

interface Rank {
  readonly folder: string;
  readonly writes?: boolean;
  /** The number of the exchange it never takes part in, or 'writing'. */
  readonly failsIn?: number | 'writing';
}

/** @returns what the ranks say; null for those that wait for others when `until` ranks have said something */
async function runRanks(program: string, ranks: readonly Rank[], until = ranks.length): Promise<unknown[]> {
  const shared = new SharedArrayBuffer(4 + ranks.length * SLOT_BYTES);
  const said: unknown[] = ranks.map(() => null);
  const workers = ranks.map(
    (plan, rank) =>
      new Worker(program, {
        workerData: { rank, worldSize: ranks.length, writes: true, ...plan, shared },
      }),
  );
  let remaining = until;
  await new Promise<void>((resolve, reject) => {
    for (const [rank, worker] of workers.entries()) {
      worker.once('error', reject);
      worker.once('message', message => {
        said[rank] = message;
        if (--remaining === 0) resolve();
      });
    }
  });
  await Promise.all(workers.map(worker => (worker.threadId < 0 ? null : worker.terminate())));
  return said;
}

const everyone = (folder: string): Rank[] => Array.from({ length: WORLD_SIZE }, () => ({ folder }));
const parts = (...ranks: number[]): string[] => ranks.map(rank => `part${rank}`);

describe('writeFolderTogether', () => {
  it('replaces a folder that all ranks see by one that all of them wrote', async () => {
    await using folder = await temporaryFolder();
    const program = await writeProgram(join(folder.path, 'program'), WRITER);
    const parent = join(folder.path, 'run', 'checkpoints');
    const target = join(parent, 'step-000001');
    for (let round = 0; round < 5; round++) {
      await mkdir(target, { recursive: true });
      await writeFile(join(target, 'old'), '');
      expect(await runRanks(program, everyone(target))).toEqual(Array(WORLD_SIZE).fill('done'));
      expect(await readdir(target)).toEqual(parts(0, 1, 2, 3));
      expect(await readdir(parent)).toEqual(['step-000001']);
    }
  });

  it('gives every file system what its ranks wrote, and none to one without', async () => {
    await using folder = await temporaryFolder();
    const program = await writeProgram(join(folder.path, 'program'), WRITER);
    const hosts = ['a', 'b', 'c'].map(host => join(folder.path, host, 'step-000001'));
    const ranks = [hosts[0]!, hosts[1]!, hosts[1]!, hosts[2]!].map((host, rank) => ({
      folder: host,
      writes: rank < 3,
    }));
    expect(await runRanks(program, ranks)).toEqual(Array(WORLD_SIZE).fill('done'));
    expect(await readdir(hosts[0]!)).toEqual(parts(0));
    expect(await readdir(hosts[1]!)).toEqual(parts(1, 2));
    expect(await readdir(join(folder.path, 'c'))).toEqual([]);
  });

  it('says so when nobody wrote anything', async () => {
    await using folder = await temporaryFolder();
    const program = await writeProgram(join(folder.path, 'program'), WRITER);
    const ranks = everyone(join(folder.path, 'empty')).map(rank => ({ ...rank, writes: false }));
    for (const said of await runRanks(program, ranks)) expect(said).toMatch(/empty: No rank wrote anything/);
  });

  it.each([
    ['fails while it writes', 'writing', 'stop'],
    ['ends before the others rename', BEFORE_THE_OTHERS_RENAME, 'stopped'],
  ] as const)('leaves no checkpoint when a rank %s', async (_, failsIn, said) => {
    await using folder = await temporaryFolder();
    const program = await writeProgram(join(folder.path, 'program'), WRITER);
    const run = join(folder.path, 'run');
    const target = join(run, 'checkpoints', 'step-000002');
    const ranks = everyone(target).map((rank, i) => (i === 2 ? { ...rank, failsIn } : rank));
    expect(await runRanks(program, ranks, 1)).toEqual([null, null, said, null]);
    expect(await readdir(join(run, 'checkpoints'))).toEqual([
      expect.stringMatching(/^\.tmp-step-000002-\d+$/),
    ]);
    expect(await latestCheckpoint(run)).toBeNull();
    await createRunFolder(run, { overwrite: false }, 0);
    expect(await readdir(join(run, 'checkpoints'))).toEqual([]);
  });

  it('is complete on the other hosts before the first rank has it', async () => {
    await using folder = await temporaryFolder();
    const program = await writeProgram(join(folder.path, 'program'), WRITER);
    const runs = ['a', 'b'].map(host => join(folder.path, host));
    const ranks = runs.map((run, rank) => ({
      folder: join(run, 'checkpoints', 'step-000003'),
      ...(rank === 1 && { failsIn: BEFORE_THE_FIRST_RENAMES }),
    }));
    expect(await runRanks(program, ranks, 1)).toEqual([null, 'stopped']);
    expect(await latestCheckpoint(runs[0]!)).toBeNull();
    expect(await latestCheckpoint(runs[1]!)).toMatchObject({ step: 3 });
  });
});
