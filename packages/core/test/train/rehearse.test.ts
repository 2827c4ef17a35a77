import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SOLO } from '@sralign/native';
import { describe, expect, it } from 'vitest';
import { type PlannedFile, rehearseFolder } from '../../src/checkpoint/rehearsal.js';
import { createRunFolder } from '../../src/checkpoint/run-folder.js';
import { recordFiles } from '../../src/checkpoint/run-record.js';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { CheckpointError, RunError } from '../../src/errors.js';
import { readCompanions } from '../../src/hf/folder.js';
import { rehearseSaves } from '../../src/train/rehearse.js';
import { checkpointFiles, finalFiles } from '../../src/train/save-plan.js';
import { train } from '../../src/train/trainer.js';
import { aloneAs, resumeOn, save, startedRun } from '../checkpoint/ranks.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const config = (folder: string, keepLast = 2): Config =>
  parseConfig({
    method: 'dpo',
    model: { path: storiesFolder },
    data: { format: 'hh', train: ['pairs.jsonl'] },
    checkpoint: { keepLast },
    output: { folder },
  });

describe('rehearseSaves', () => {
  it('leaves nothing, and writes every file in full size meanwhile', async () => {
    await using folder = await temporaryFolder();
    using started = await startedRun(storiesFolder, {});
    const { model } = started;
    const companions = await readCompanions(storiesFolder);
    await rehearseSaves(config(folder.path), model, companions, SOLO);
    expect(await readdir(folder.path)).toEqual([]);
  });

  it('wants room for the checkpoints that are kept, one more, and the final model, and says how much', async () => {
    await using folder = await temporaryFolder();
    using started = await startedRun(storiesFolder, {});
    const { model } = started;
    const companions = await readCompanions(storiesFolder);
    const bytesOf = (files: readonly { bytes: number }[]): number =>
      files.reduce((sum, { bytes }) => sum + bytes, 0);
    const needed =
      3 * bytesOf(checkpointFiles(model, 'rmsprop', companions)) + bytesOf(finalFiles(model, companions));
    // Weights and one moment, three times, and the weights: in f32.
    expect(needed).toBeGreaterThan(7 * model.parameterCount * 4);
    expect(needed).toBeLessThan(7 * model.parameterCount * 4 * 1.2);
    const rehearse = (free: number): Promise<void> =>
      rehearseSaves(config(folder.path), model, companions, SOLO, async () => free);
    await rehearse(needed);
    await expect(rehearse(needed - 1)).rejects.toThrow(CheckpointError);
    await expect(rehearse(needed - 1)).rejects.toThrow(
      new RegExp(
        `^${folder.path}, .*needs ${needed} bytes.* 3 checkpoints .* ${needed - 1} bytes .*are free`,
      ),
    );
    expect(await readdir(folder.path)).toEqual([]);
  });

  it('counts what the run in the folder will make room with', async () => {
    await using folder = await temporaryFolder();
    using started = await startedRun(storiesFolder, {});
    const { model } = started;
    const companions = await readCompanions(storiesFolder);
    await createRunFolder(folder.path, { overwrite: false }, 0);
    await mkdir(join(folder.path, 'final'));
    await writeFile(join(folder.path, 'final', 'model.safetensors'), Buffer.alloc(64 * 2 ** 20, 1));
    await recordFiles(folder.path, 0, ['final/model.safetensors']);
    await rehearseSaves(config(folder.path), model, companions, SOLO, async () => 0);
  });

  it('names the folder and the bytes when the disk refuses a file', async () => {
    await using folder = await temporaryFolder();
    using started = await startedRun(storiesFolder, {});
    const { model } = started;
    const companions = await readCompanions(storiesFolder);
    const run = join(folder.path, 'file');
    await writeFile(run, '');
    const refused = rehearseSaves(config(run), model, companions, SOLO, async () => 2 ** 40);
    await expect(refused).rejects.toThrow(RunError);
    await expect(refused).rejects.toThrow(/cannot be written \(ENOTDIR.*needs \d+ bytes.*bytes .*were free/);
  });
});

describe('checkpointFiles', () => {
  it.each([1, 2, 3])('are the files that %i ranks write, none larger than planned', async worldSize => {
    await using folder = await temporaryFolder();
    const [whole, sharded] = [join(folder.path, 'whole'), join(folder.path, 'sharded')];
    await mkdir(whole);
    await mkdir(sharded);
    const companions = await readCompanions(storiesFolder);
    const planned: PlannedFile[] = [];
    using started = await startedRun(storiesFolder, {});
    await save(whole, started, storiesFolder);
    const written = worldSize === 1 ? whole : sharded;
    if (worldSize === 1) planned.push(...checkpointFiles(started.model, 'adamw', companions));
    else {
      await resumeOn(worldSize, whole, 'f32', async state => {
        const { units } = state.model;
        Object.assign(units, { communicator: aloneAs(units.communicator.rank, worldSize) });
        await save(sharded, state, storiesFolder);
        planned.push(...checkpointFiles(state.model, 'adamw', companions));
      });
    }
    // The run writes these two beside what it saves.
    const tensors = planned.filter(({ name }) => name !== 'checksums.json' && name !== 'inputs.json');
    expect(tensors).toHaveLength(planned.length - 2);
    expect(tensors.map(({ name }) => name).sort()).toEqual((await readdir(written)).sort());
    for (const { name, bytes } of tensors) {
      const { size } = await stat(join(written, name));
      expect([name, size <= bytes]).toEqual([name, true]);
      expect(bytes).toBeLessThanOrEqual(size * 1.1 + 2 ** 17);
    }
  });
});

describe('a run', () => {
  it('writes the files that were planned, and no others', async () => {
    await using folder = await temporaryFolder();
    const companions = await readCompanions(storiesFolder);
    const run = join(folder.path, 'run');
    const base = config(run);
    const row = { prompt: 'Once upon a time', chosen: ' there was a cat.', rejected: ' no.' };
    const data = join(folder.path, 'pairs.jsonl');
    await writeFile(data, `${JSON.stringify(row)}\n`);
    const short = parseConfig({
      method: 'dpo',
      model: base.model,
      data: { format: 'preference', train: [data] },
      augmentation: { prompt: 'Be kind.' },
      training: { batchPairs: 1, maxSteps: 1 },
      output: { folder: run },
    });
    await train(short);
    using started = await startedRun(storiesFolder, {});
    const names = (files: readonly PlannedFile[]): string[] => files.map(({ name }) => name).sort();
    expect((await readdir(join(run, 'checkpoints', 'step-000001'))).sort()).toEqual(
      names(checkpointFiles(started.model, short.optimizer.name, companions)),
    );
    expect((await readdir(join(run, 'final'))).sort()).toEqual(names(finalFiles(started.model, companions)));
  });
});

describe('rehearseFolder', () => {
  it('reserves what is beyond 64 MiB', async () => {
    await using folder = await temporaryFolder();
    const seen: number[] = [];
    const watch = setInterval(async () => {
      for (const name of await readdir(folder.path).catch(() => [])) {
        const found = await stat(join(folder.path, name, 'big')).catch(() => null);
        if (found !== null) seen.push(found.size);
      }
    }, 1);
    await rehearseFolder(
      folder.path,
      [
        { name: 'big', bytes: 80 * 2 ** 20 },
        { name: 'small', bytes: 3 },
      ],
      true,
    );
    clearInterval(watch);
    expect(Math.max(...seen)).toBeLessThanOrEqual(80 * 2 ** 20);
    expect(await readdir(folder.path)).toEqual([]);
  });
});
