import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { ModelError } from '../../src/errors.js';
import { planRun, type RunPlan } from '../../src/plan/plan.js';
import { storiesFolder, temporaryFolder, tinyConfigs } from '../support.js';

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
