/** Starting where something is already: what may be deleted, and what must never be. */
import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { lockRunFolder, newJobName } from '../../src/checkpoint/run-lock.js';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { type TrainOptions, train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const harmless = fileURLToPath(
  new URL('../../../../examples/data/hh-rlhf/harmless-base.train.jsonl.gz', import.meta.url),
);

/** One step of DPO on four pairs. */
function config(folder: string, changes: Record<string, Record<string, unknown>> = {}): Config {
  const base: Record<string, Record<string, unknown>> = {
    model: { path: storiesFolder },
    data: { format: 'hh', train: [harmless], limit: 'first', maxTrainPairs: 4 },
    tokens: { maxTokens: 120, maxPromptTokens: 80, longPrompt: 'keep-end' },
    augmentation: { prompt: 'Be kind. Query:', maxTokens: 40 },
    training: { batchPairs: 4, maxSteps: 1 },
    output: { folder },
  };
  for (const [section, values] of Object.entries(changes)) base[section] = { ...base[section], ...values };
  return parseConfig({ method: 'dpo', ...base });
}

/** Every file there, with what is in it. */
async function snapshot(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name));
  return Object.fromEntries(
    await Promise.all(
      files.sort().map(async file => [relative(folder, file), await readFile(file, 'base64')] as const),
    ),
  );
}

describe('train with overwrite', () => {
  it('deletes the old run when all else is checked, and files of others never', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'run');
    await train(config(run));
    await writeFile(join(run, 'notes.txt'), 'mine');
    await mkdir(join(run, 'runs', 'other'), { recursive: true });
    await writeFile(join(run, 'runs', 'other', 'config.yaml'), 'mine');
    const before = await snapshot(run);

    const bad = [
      config(run, { model: { path: join(folder.path, 'none') } }),
      config(run, { data: { train: [join(folder.path, 'none.jsonl')] } }),
      config(run, { training: { batchPairs: 4, maxSteps: 1, device: 'cuda:7' } }),
    ];
    for (const wrong of bad) await expect(train(wrong, { overwrite: true })).rejects.toThrow();
    const damaged = join(folder.path, 'damaged');
    await cp(storiesFolder, damaged, { recursive: true });
    await writeFile(join(damaged, 'model.safetensors'), 'not weights');
    await expect(train(config(run, { model: { path: damaged } }), { overwrite: true })).rejects.toThrow(
      /model\.safetensors/,
    );
    expect(await snapshot(run)).toEqual(before);

    await train(config(run), { overwrite: true });
    const after = await snapshot(run);
    expect(after).toMatchObject({
      'notes.txt': before['notes.txt'],
      'runs/other/config.yaml': before['notes.txt'],
    });
    expect(Object.keys(after).filter(name => name.startsWith('events'))).toHaveLength(1);
  });

  const inputs: [string, (run: string, outside: string) => [Config, TrainOptions?]][] = [
    ['model.path', run => [config(run, { model: { path: join(run, 'final') } })]],
    ['model.path', (run, outside) => [config(run, { model: { path: outside } })]],
    [
      'model.tokenizer',
      run => [config(run, { model: { path: storiesFolder, tokenizer: join(run, 'final') } })],
    ],
    ['reference.model', run => [config(run, { reference: { model: join(run, 'final') } })]],
    [
      'reference.cacheFolder',
      run => [config(run, { reference: { cacheFolder: join(run, 'reference-cache') } })],
    ],
    ['data.train', run => [config(run, { data: { train: [harmless, join(run, 'pairs.jsonl.gz')] } })]],
    ['data.eval', run => [config(run, { data: { eval: [join(run, 'pairs.jsonl.gz')] } })]],
    ['the configuration', run => [config(run), { configFile: join(run, 'config.yaml') }]],
    ['--trace', run => [config(run), { trace: join(run, 'final', 'trace.json') }]],
  ];
  it('refuses where an input lies in the folder, before anything is deleted', async () => {
    await using folder = await temporaryFolder();
    const [run, outside] = [join(folder.path, 'run'), join(folder.path, 'link')];
    await train(config(run));
    await cp(harmless, join(run, 'pairs.jsonl.gz'));
    await symlink(join(run, 'final'), outside);
    const before = await snapshot(run);
    for (const [field, make] of inputs) {
      const [settings, options] = make(run, outside);
      await expect(train(settings, { overwrite: true, ...options }), field).rejects.toThrow(
        `but ${field} lies in it`,
      );
    }
    expect(await snapshot(run)).toEqual(before);
  });

  it('never deletes a project that is no run, though its files have the names of one', async () => {
    await using folder = await temporaryFolder();
    const project = { 'config.yaml': 'mine', 'runs/other/config.yaml': 'mine', 'final/thesis.txt': 'mine' };
    for (const [name, text] of Object.entries(project)) {
      await mkdir(join(folder.path, name, '..'), { recursive: true });
      await writeFile(join(folder.path, name), text);
    }
    const before = await snapshot(folder.path);
    for (const overwrite of [true, false]) {
      await expect(train(config(folder.path), { overwrite })).rejects.toThrow(/holds "config\.yaml"/);
    }
    expect(await snapshot(folder.path)).toEqual(before);
    expect(await readdir(folder.path)).toEqual(['config.yaml', 'final', 'runs']);
  });
});

describe('train', () => {
  it('can be started again where it was killed before config.yaml was there', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'run');
    await train(config(run));
    const events = (await readdir(run)).filter(name => name.startsWith('events.'));
    expect(events).toHaveLength(1);
    for (const name of ['config.yaml', 'metrics.jsonl', 'result.json', 'final', 'checkpoints', ...events])
      await rm(join(run, name), { recursive: true });
    await mkdir(join(run, 'checkpoints'));
    await writeFile(join(run, '.tmp-config.yaml-12345'), 'half');
    await train(config(run));
    expect(await readdir(run)).not.toContain('.tmp-config.yaml-12345');
    expect(await readdir(run)).toContain('final');
  });

  it('is refused while another process writes into the folder, whatever it is told', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'run');
    await train(config(run));
    const before = await snapshot(run);
    const lock = await lockRunFolder(run, newJobName());
    const held = await snapshot(run);
    for (const options of [{}, { resume: true }, { overwrite: true }]) {
      await expect(train(config(run), options)).rejects.toThrow(
        new RegExp(`Another run is writing into this folder: process ${process.pid} on `),
      );
    }
    expect(await snapshot(run)).toEqual(held);
    await lock.release();
    expect(await snapshot(run)).toEqual(before);
  });

  it('leaves nothing where the input is wrong', async () => {
    await using folder = await temporaryFolder();
    const missing = config(join(folder.path, 'deep', 'run'), { model: { path: join(folder.path, 'none') } });
    await expect(train(missing)).rejects.toThrow();
    expect(await readdir(folder.path)).toEqual([]);
  });
});
