import { appendFile, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
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
import { recordFiles } from '../../src/checkpoint/run-record.js';
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

/** A folder as a run of sralign leaves it. */
const RUN = [
  'config.yaml',
  'metrics.jsonl',
  'events.out.tfevents.1.host.2',
  'checkpoints/step-000001/config.json',
  'final/config.json',
];

async function leaveRun(folder: string): Promise<void> {
  await createRunFolder(folder, NEW, 0);
  await populate(folder, [...RUN, 'reference-cache/abc.jsonl']);
  await recordFiles(folder, 0, RUN);
}

/** All files there but those of the record. */
const filesOf = async (folder: string): Promise<string[]> =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter(entry => !entry.isDirectory() && !entry.parentPath.endsWith('.sralign'))
    .map(entry => relative(folder, join(entry.parentPath, entry.name)))
    .sort();

describe('checkRunFolder', () => {
  it('accepts a folder that is not there or empty, and writes nothing', async () => {
    await using folder = await temporaryFolder();
    await checkRunFolder(join(folder.path, 'a', 'b'), NEW);
    expect(await readdir(folder.path)).toEqual([]);
    await checkRunFolder(folder.path, NEW);
    await checkRunFolder(folder.path, RESUME);
    await checkRunFolder(folder.path, OVERWRITE);
  });

  it.each(['config.yaml', 'metrics.jsonl', 'checkpoints/step-000001/config.json', 'final/config.json'])(
    'takes a folder with the %s of a run for a run',
    async file => {
      await using folder = await temporaryFolder();
      await createRunFolder(folder.path, NEW, 0);
      await populate(folder.path, [file]);
      await recordFiles(folder.path, 0, [file]);
      const refused = checkRunFolder(folder.path, NEW);
      await expect(refused).rejects.toThrow(CheckpointError);
      await expect(refused).rejects.toThrow(/field "output\.folder": .*holds a run.*--resume.*--overwrite/);
      await checkRunFolder(folder.path, RESUME);
      await checkRunFolder(folder.path, OVERWRITE);
    },
  );

  it.each(['config.yaml', 'metrics.jsonl', 'checkpoints/step-000001/config.json', 'final/thesis.txt'])(
    'does not take the %s of someone else for a run, nor overwrites it',
    async file => {
      await using folder = await temporaryFolder();
      await populate(folder.path, [file, 'runs/other/config.yaml']);
      await expect(checkRunFolder(folder.path, NEW)).rejects.toThrow(`already holds "${file}"`);
      await expect(checkRunFolder(folder.path, OVERWRITE)).rejects.toThrow(
        `holds "${file}", which would be lost: there is no record of a run`,
      );
      expect(await filesOf(folder.path)).toEqual([file, 'runs/other/config.yaml'].sort());
    },
  );

  it('refuses to overwrite a run to whose parts something was added, and to replace a final model with it', async () => {
    await using folder = await temporaryFolder();
    await leaveRun(folder.path);
    await populate(folder.path, ['final/thesis.txt']);
    for (const mode of [OVERWRITE, RESUME]) {
      await expect(checkRunFolder(folder.path, mode)).rejects.toThrow(
        /holds "final\/thesis\.txt", which would be lost: the run in this folder did not write it/,
      );
    }
  });

  it('refuses to delete through a link', async () => {
    await using folder = await temporaryFolder();
    const [run, other] = [join(folder.path, 'run'), join(folder.path, 'other')];
    await leaveRun(run);
    await populate(other, ['config.json']);
    await rm(join(run, 'final'), { recursive: true });
    await symlink(other, join(run, 'final'));
    await expect(checkRunFolder(run, OVERWRITE)).rejects.toThrow(/holds "final", which would be lost/);
    await createRunFolder(run, OVERWRITE, 0);
    expect(await readdir(other)).toEqual(['config.json']);
  });

  it('refuses files of someone else unless told to overwrite, which leaves them alone', async () => {
    await using folder = await temporaryFolder();
    await populate(folder.path, ['notes.txt']);
    await expect(checkRunFolder(folder.path, NEW)).rejects.toThrow(/not empty: it holds "notes\.txt"/);
    await expect(checkRunFolder(folder.path, RESUME)).rejects.toThrow(/not empty: it holds "notes\.txt"/);
    await checkRunFolder(folder.path, OVERWRITE);
  });

  it('accepts what a killed start left, before config.yaml and after', async () => {
    await using folder = await temporaryFolder();
    await populate(folder.path, ['.tmp-config.yaml-123', '.sralign/lock']);
    await checkRunFolder(folder.path, NEW);
    await createRunFolder(folder.path, NEW, 0);
    await populate(folder.path, ['.tmp-config.yaml-456', 'reference-cache/abc.jsonl']);
    for (const mode of [NEW, OVERWRITE]) await checkRunFolder(folder.path, mode);
  });

  it.each(['file', 'file/run', 'file/deep/run'])(
    'refuses the folder %s, where "file" is a file',
    async name => {
      await using folder = await temporaryFolder();
      await populate(folder.path, ['file']);
      const refused = checkRunFolder(join(folder.path, name), NEW);
      await expect(refused).rejects.toThrow(CheckpointError);
      await expect(refused).rejects.toThrow(/cannot be used \(ENOTDIR.*Choose another output\.folder/);
      await expect(createRunFolder(join(folder.path, name), NEW, 0)).rejects.toThrow(CheckpointError);
    },
  );
});

describe('createRunFolder', () => {
  it('overwrites what the run wrote and nothing else', async () => {
    await using folder = await temporaryFolder();
    const mine = ['notes.txt', 'README.md', 'plots/a.png', 'runs/other/config.yaml', 'checkpoints/best/a'];
    await leaveRun(folder.path);
    await populate(folder.path, mine);
    await checkRunFolder(folder.path, OVERWRITE);
    await createRunFolder(folder.path, OVERWRITE, 0);
    expect(await filesOf(folder.path)).toEqual(mine.sort());
    expect((await readdir(folder.path)).sort()).toEqual(
      ['.sralign', 'README.md', 'checkpoints', 'notes.txt', 'plots', 'runs'].sort(),
    );
  });

  it('deletes nothing outside the folder, whatever the record says', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'run');
    await leaveRun(run);
    await populate(folder.path, ['mine.txt']);
    const lies = ['../mine.txt', join(folder.path, 'mine.txt'), 'final/../../mine.txt', '.', '..', ''];
    await recordFiles(run, 0, lies);
    await createRunFolder(run, OVERWRITE, 0);
    expect(await filesOf(folder.path)).toEqual(['mine.txt']);
  });

  it('goes on after a line that a killed writer left unfinished', async () => {
    await using folder = await temporaryFolder();
    await leaveRun(folder.path);
    await appendFile(join(folder.path, '.sralign', 'files-00000.jsonl'), '"final/unfin');
    await populate(folder.path, ['final/README.md']);
    await recordFiles(folder.path, 0, ['final/README.md']);
    await createRunFolder(folder.path, OVERWRITE, 0);
    expect(await filesOf(folder.path)).toEqual([]);
  });

  it('keeps a run that goes on, but not what a killed writer left', async () => {
    await using folder = await temporaryFolder();
    const kept = ['config.yaml', 'checkpoints/step-000001/config.json'];
    await populate(folder.path, [
      ...kept,
      '.tmp-final-9/a',
      'checkpoints/.tmp-step-000002-9/a',
      'reference-cache/.tmp-a.jsonl-9',
    ]);
    await createRunFolder(folder.path, RESUME, 0);
    expect(await filesOf(folder.path)).toEqual(kept.sort());
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
