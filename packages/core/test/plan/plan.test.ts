import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { ModelError } from '../../src/errors.js';
import { longestFirst } from '../../src/plan/lengths.js';
import { planRun, type RunPlan } from '../../src/plan/plan.js';
import { storiesFolder, temporaryFolder, tinyConfigs, tinyModel } from '../support.js';

const data = fileURLToPath(
  new URL('../../../../examples/data/hh-rlhf/harmless-base.eval.jsonl.gz', import.meta.url),
);
const ceilings = { flopsPerSecond: 1e12, memoryBytesPerSecond: 1e11 };
const MEBIBYTE = 2 ** 20;

function config(more: Record<string, unknown> = {}, training: Record<string, unknown> = {}): Config {
  return parseConfig({
    method: 'sr-dpo',
    model: { path: storiesFolder },
    data: { format: 'hh', train: data },
    tokens: { maxTokens: 160, maxPromptTokens: 96, longPrompt: 'drop' },
    augmentation: { maxTokens: 144 },
    training: { batchPairs: 8, microbatchPairs: 4, ...training },
    output: { folder: 'unused' },
    ...more,
  });
}

const assumption = (plan: RunPlan, about: string): string =>
  plan.assumptions.find(line => line.startsWith(`${about}: `))!;

afterEach(() => vi.unstubAllEnvs());

describe('longestFirst', () => {
  it('orders by what the view packs', () => {
    const pairs = [
      { prompt: 5, augmentedPrompt: 5, chosen: 10, rejected: 80 },
      { prompt: 5, augmentedPrompt: 90, chosen: 20, rejected: 5 },
      { prompt: 5, augmentedPrompt: 6, chosen: 30, rejected: 2 },
    ];
    const [longRejected, longAugmented, longChosen] = pairs;
    expect(longestFirst(pairs, 'plain')).toEqual([longRejected, longChosen, longAugmented]);
    expect(longestFirst(pairs, 'augmented')).toEqual([longAugmented, longRejected, longChosen]);
  });
});

describe('planRun', () => {
  it('takes the lengths from the data, or assumes the limits and says so', async () => {
    const request = { worldSize: 1, memoryBytes: 1e9, ceilings };
    const read = await planRun(config(), request);
    expect(assumption(read, 'lengths')).toMatch(/^lengths: the first \d+ pairs of data\.train/);
    const assumed = await planRun(config({ data: { format: 'hh', train: 'nowhere.jsonl' } }), request);
    expect(assumption(assumed, 'lengths')).toMatch(
      /nowhere\.jsonl is not here: .* a prompt of 96 and answers of 64 tokens/,
    );
    // No pair of the data is longer than that, and most are shorter.
    expect(read.memory.totalBytes).toBeLessThanOrEqual(assumed.memory.totalBytes);
    expect(read.step.linearFlops).toBeLessThan(0.9 * assumed.step.linearFlops);
  });

  it('says where the ceilings come from, and plans for those that are given', async () => {
    const given = await planRun(config(), { worldSize: 1, memoryBytes: 1e9, ceilings });
    expect(assumption(given, 'products')).toMatch(/1\.00 TFLOP\/s, given, .* reaches 0\.6, assumed/);
    const measured = await planRun(config(), { worldSize: 1, memoryBytes: 1e9 });
    expect(assumption(measured, 'products')).toMatch(/measured here, .* reaches 0\.82, measured on a CPU/);
    expect(measured.ceilings.flopsPerSecond).toBeGreaterThan(1e8);
    expect(measured.ceilings.memoryBytesPerSecond).toBeGreaterThan(1e8);
  });

  it('finds the largest microbatch that fits', async () => {
    const planFor = (memoryBytes: number, microbatchPairs: number): Promise<RunPlan> =>
      planRun(config({}, { batchPairs: 32, microbatchPairs }), { worldSize: 1, memoryBytes, ceilings });
    const bytesOf = async (pairs: number): Promise<number> => (await planFor(1e12, pairs)).memory.totalBytes;
    const room = (await bytesOf(8)) + 1;
    const plan = await planFor(room, 16);
    expect(plan.fits).toBe(false);
    expect(plan.freeBytes).toBe(room - plan.memory.totalBytes);
    expect(plan.alternatives.map(({ activationCheckpointing }) => activationCheckpointing)).toEqual([
      false,
      true,
    ]);
    const [plain, checkpointing] = plan.alternatives;
    expect(plain!.largest!.microbatchPairs).toBe(8);
    expect(checkpointing!.largest!.microbatchPairs).toBeGreaterThan(8);
    expect((await planFor(MEBIBYTE, 1)).alternatives.every(({ largest }) => largest === null)).toBe(true);
  });

  it('plans SFT for the longest of what it packs, whatever the rejected answers', async () => {
    await using folder = await temporaryFolder();
    const planFor = async (name: string, rejected: (index: number) => string): Promise<RunPlan> => {
      const file = join(folder.path, name);
      const rows = Array.from({ length: 40 }, (_, index) => ({
        prompt: 'A cat sat.',
        chosen: 'It was a big day. '.repeat(index % 10 === 0 ? 12 : 1),
        rejected: rejected(index),
      }));
      await writeFile(file, rows.map(row => JSON.stringify(row)).join('\n'));
      const more = { method: 'sft', data: { format: 'preference', train: file } };
      return planRun(config(more), { worldSize: 1, memoryBytes: 1e9, ceilings });
    };
    const short = await planFor('short.jsonl', () => 'No.');
    const long = await planFor('long.jsonl', index => (index % 10 === 0 ? 'No.' : 'No, no, no. '.repeat(10)));
    expect(long.memory).toEqual(short.memory);
    expect(long.step).toEqual(short.step);
    // As many tokens as the mean pair has would be far less.
    expect(long.memory.kinds.activations).toBeGreaterThan(1e6);
  });

  it.each(Object.keys(tinyConfigs))('counts the parameters of %s as the model does', async name => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'config.json'), JSON.stringify(tinyConfigs[name]));
    const model = await tinyModel(name);
    const elements = model.parameters.reduce((sum, { size }) => sum + size, 0);
    model.dispose();
    for (const dtype of ['f32', 'bf16']) {
      const plan = await planRun(config({ model: { path: folder.path } }, { dtype }), {
        worldSize: 2,
        memoryBytes: 1e9,
        ceilings,
      });
      expect(plan.parameters).toBe(elements);
    }
  });

  it('recommends only microbatches that the configuration takes', async () => {
    // 10 pairs leave 4 ranks 3 at most, which does not divide 10.
    const settings = async (worldSize: number, memoryBytes: number) => {
      const request = { worldSize, memoryBytes, ceilings };
      const plan = await planRun(config({}, { batchPairs: 10, microbatchPairs: null }), request);
      return plan.alternatives.map(({ largest }) => largest && [largest.setting, largest.microbatchPairs]);
    };
    expect(await settings(4, 1e9)).toEqual(Array(6).fill([null, 3]));
    expect(await settings(2, 1e9)).toEqual(Array(6).fill([5, 5]));
    const smaller = (
      await planRun(config({}, { batchPairs: 10, microbatchPairs: 2 }), {
        worldSize: 1,
        memoryBytes: 1e9,
        ceilings,
      })
    ).memory.totalBytes;
    expect((await settings(1, smaller))[0]).toEqual([2, 2]);
  });

  it('finds a tokenizer in the hub cache, and asks no hub for one', async () => {
    await using folder = await temporaryFolder();
    vi.stubEnv('HF_HUB_CACHE', folder.path);
    vi.stubEnv('HF_HUB_OFFLINE', '');
    // Nothing listens there.
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
    const lengths = async (): Promise<string> => {
      const own = config({ model: { path: storiesFolder, tokenizer: 'org/tokenizer' } });
      return assumption(await planRun(own, { worldSize: 1, memoryBytes: 1e9, ceilings }), 'lengths');
    };
    expect(await lengths()).toContain('org/tokenizer/tokenizer.json is not here');
    const repository = join(folder.path, 'models--org--tokenizer');
    const commit = '0123456789abcdef0123456789abcdef01234567';
    const snapshot = join(repository, 'snapshots', commit);
    await mkdir(snapshot, { recursive: true });
    await mkdir(join(repository, 'refs'));
    await writeFile(join(repository, 'refs', 'main'), commit);
    for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
      await copyFile(join(storiesFolder, name), join(snapshot, name));
    }
    expect(await lengths()).toMatch(/^lengths: the first \d+ pairs/);
  });

  it('plans for the evaluation where it is what needs most', async () => {
    const evaluated = (batchPairs: number): Promise<RunPlan> =>
      planRun(
        config(
          { data: { format: 'hh', train: data, eval: data }, evaluation: { batchPairs } },
          { microbatchPairs: 1 },
        ),
        { worldSize: 1, memoryBytes: 1e9, ceilings },
      );
    expect((await evaluated(64)).memory.phase).toBe('evaluation');
    expect((await evaluated(1)).memory.phase).not.toBe('evaluation');
  });

  it('shares a batch among ranks: fewer bytes with more sharding', async () => {
    const plan = await planRun(config(), { worldSize: 4, memoryBytes: 1e9, ceilings });
    expect(plan.microbatchPairs).toBe(2);
    expect(plan.microbatches).toBe(1);
    const [full, gradients, none] = plan.alternatives
      .filter(({ activationCheckpointing }) => !activationCheckpointing)
      .map(({ totalBytes }) => totalBytes);
    expect(full).toBeLessThan(gradients!);
    expect(gradients).toBeLessThan(none!);
    expect(assumption(plan, 'communication')).toContain('counted as no time');
  });

  it('takes a spare config.json for a model that is not here', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'config.json'), JSON.stringify(tinyConfigs['gpt_neox parallel']));
    const absent = config({ model: { path: join(folder.path, 'final') } });
    const request = { worldSize: 1, memoryBytes: 1e9, ceilings };
    const plan = await planRun(absent, { ...request, spareFolder: folder.path });
    expect(assumption(plan, 'model')).toMatch(/config\.json, because .*final is not here/);
    await expect(planRun(absent, request)).rejects.toThrow(ModelError);
  });

  it('asks for ceilings where the device is not here', async () => {
    const elsewhere = config({}, { device: 'cuda:63' });
    await expect(planRun(elsewhere, { worldSize: 1, memoryBytes: 1e9 })).rejects.toThrow(/--tflops/);
    const plan = await planRun(elsewhere, { worldSize: 1, memoryBytes: 1e9, ceilings });
    expect(plan.memory.kinds.workspace).toBeGreaterThan(32 * MEBIBYTE);
  });
});
