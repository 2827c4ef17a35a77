import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SOLO } from '@sralign/native';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkpointFolder,
  checkRunFolder,
  createRunFolder,
  latestCheckpoint,
  listCheckpoints,
  pruneCheckpoints,
} from '../../src/checkpoint/run-folder.js';
import { CheckpointError } from '../../src/errors.js';
import { temporaryFolder } from '../support.js';

const NEW = { resume: false, overwrite: false };
const RESUME = { resume: true, overwrite: false };
const OVERWRITE = { resume: false, overwrite: true };

async function populate(folder: string, files: readonly string[]): Promise<void> {
  for (const file of files) {
    await mkdir(join(folder, file, '..'), { recursive: true });
    await writeFile(join(folder, file), 'x');
  }
}

describe('checkRunFolder', () => {
  it('accepts a folder that is not there or empty, and writes nothing', async () => {
    await using folder = await temporaryFolder();
    await checkRunFolder(join(folder.path, 'a', 'b'), NEW);
    expect(await readdir(folder.path)).toEqual([]);
    await checkRunFolder(folder.path, NEW);
    await checkRunFolder(folder.path, RESUME);
    await checkRunFolder(folder.path, OVERWRITE);
  });

  it.each(['config.yaml', 'metrics.jsonl', 'checkpoints/step-000001/config.json'])(
    'takes a folder with %s for a run',
    async file => {
      await using folder = await temporaryFolder();
      await populate(folder.path, [file]);
      const refused = checkRunFolder(folder.path, NEW);
      await expect(refused).rejects.toThrow(CheckpointError);
      await expect(refused).rejects.toThrow(/field "output\.folder": .*holds a run.*--resume.*--overwrite/);
      await checkRunFolder(folder.path, RESUME);
      await checkRunFolder(folder.path, OVERWRITE);
    },
  );

  it('refuses files of someone else unless told to overwrite, which leaves them alone', async () => {
    await using folder = await temporaryFolder();
    await populate(folder.path, ['notes.txt']);
    await expect(checkRunFolder(folder.path, NEW)).rejects.toThrow(/not empty: it holds "notes\.txt"/);
    await expect(checkRunFolder(folder.path, RESUME)).rejects.toThrow(/not empty: it holds "notes\.txt"/);
    await checkRunFolder(folder.path, OVERWRITE);
  });

  it('accepts what a killed start left', async () => {
    await using folder = await temporaryFolder();
    await populate(folder.path, ['.tmp-config.yaml-123']);
    await checkRunFolder(folder.path, NEW);
  });

  it.each(['file', 'file/run', 'file/deep/run'])(
    'refuses the folder %s, where "file" is a file',
    async name => {
      await using folder = await temporaryFolder();
      await populate(folder.path, ['file']);
      const refused = checkRunFolder(join(folder.path, name), NEW);
      await expect(refused).rejects.toThrow(CheckpointError);
      await expect(refused).rejects.toThrow(/cannot be used \(ENOTDIR.*Choose another output\.folder/);
      await expect(createRunFolder(join(folder.path, name), NEW)).rejects.toThrow(CheckpointError);
    },
  );
});

describe('createRunFolder', () => {
  it('overwrites what sralign wrote and nothing else', async () => {
    await using folder = await temporaryFolder();
    const mine = ['notes.txt', 'README.md', 'plots/a.png'];
    const run = [
      'config.yaml',
      'metrics.jsonl',
      'runs/events.out.tfevents.1.host.2',
      'checkpoints/step-000001/config.json',
      'final/config.json',
      'reference-cache/abc.jsonl',
    ];
    await populate(folder.path, [...mine, ...run]);
    await createRunFolder(folder.path, OVERWRITE);
    expect((await readdir(folder.path)).sort()).toEqual(['README.md', 'checkpoints', 'notes.txt', 'plots']);
    expect(await readdir(join(folder.path, 'checkpoints'))).toEqual([]);
  });

  it('keeps a run that goes on, but not what a killed writer left', async () => {
    await using folder = await temporaryFolder();
    const kept = ['config.yaml', 'checkpoints/step-000001/config.json'];
    await populate(folder.path, [...kept, '.tmp-final-9/a', 'checkpoints/.tmp-step-000002-9/a']);
    await createRunFolder(folder.path, RESUME);
    expect((await readdir(folder.path)).sort()).toEqual(['checkpoints', 'config.yaml']);
    expect(await readdir(join(folder.path, 'checkpoints'))).toEqual(['step-000001']);
  });
});

describe('checkpoints', () => {
  it('are listed by step, complete ones and our own only', async () => {
    await using folder = await temporaryFolder();
    expect(await listCheckpoints(folder.path)).toEqual([]);
    expect(await latestCheckpoint(folder.path)).toBeNull();
    const names = [
      'step-000009',
      'checkpoint-10',
      'step-1000000',
      '.tmp-step-2000000-7',
      'best',
      'step-3x',
      'step-12',
    ];
    await populate(
      folder.path,
      names.map(name => `checkpoints/${name}/config.json`),
    );
    const parent = join(folder.path, 'checkpoints');
    expect(await listCheckpoints(folder.path)).toEqual([
      { step: 9, folder: join(parent, 'step-000009') },
      { step: 1_000_000, folder: join(parent, 'step-1000000') },
    ]);
    expect(await latestCheckpoint(folder.path)).toMatchObject({ step: 1_000_000 });
    expect(checkpointFolder(folder.path, 9)).toBe(join(parent, 'step-000009'));
  });

  it('are pruned to the newest', async () => {
    const steps = fc.uniqueArray(fc.nat(2_000_000), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 4 }), async (steps, keepLast) => {
        await using folder = await temporaryFolder();
        for (const step of steps) await mkdir(checkpointFolder(folder.path, step), { recursive: true });
        await pruneCheckpoints(folder.path, keepLast, null, SOLO);
        const kept = (await listCheckpoints(folder.path)).map(({ step }) => step);
        expect(kept).toEqual(steps.sort((a, b) => a - b).slice(-keepLast));
      }),
      { numRuns: 25 },
    );
  });

  it('stay when they are the best, or all are to stay', async () => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, 'checkpoints', 'checkpoint-1'), { recursive: true });
    for (const step of [2, 4, 6]) await mkdir(checkpointFolder(folder.path, step), { recursive: true });
    const steps = async (): Promise<number[]> => (await listCheckpoints(folder.path)).map(({ step }) => step);
    await pruneCheckpoints(folder.path, 'all', null, SOLO);
    expect(await steps()).toEqual([2, 4, 6]);
    await pruneCheckpoints(folder.path, 1, 2, SOLO);
    expect(await steps()).toEqual([2, 6]);
    expect(await readdir(join(folder.path, 'checkpoints'))).toContain('checkpoint-1');
  });

  it('are those of the first rank on every host', async () => {
    await using folder = await temporaryFolder();
    for (const step of [2, 4, 6]) await mkdir(checkpointFolder(folder.path, step), { recursive: true });
    // The first rank is on another host, where a new run has come to step 4; here an old one had come to 6.
    const exchange = <T>(value: T): T[] => [[2, 4] as T, value];
    await pruneCheckpoints(folder.path, 2, null, { exchange });
    expect((await listCheckpoints(folder.path)).map(({ step }) => step)).toEqual([2, 4]);
  });
});
