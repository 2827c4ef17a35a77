import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { ConfigError } from '../../src/errors.js';
import { exists } from '../../src/files.js';
import { fitMemory } from '../../src/plan/fit.js';
import { readPlanInputs } from '../../src/plan/inputs.js';
import type { TrainEvent } from '../../src/train/events.js';
import { train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const available = vi.hoisted(() => ({ bytes: 0 }));
vi.mock('../../src/plan/available-memory.js', () => ({
  availableMemory: async () => ({ bytes: available.bytes, source: 'available in this test' }),
}));

const path = (name: string): string => fileURLToPath(new URL(`../../../../${name}`, import.meta.url));
const GIBIBYTE = 2 ** 30;

function config(output: string, more: Record<string, unknown> = {}, training = {}): Config {
  return parseConfig({
    method: 'sr-dpo',
    model: { path: storiesFolder },
    data: { format: 'hh', train: path('examples/data/hh-rlhf/harmless-base.eval.jsonl.gz') },
    tokens: { maxTokens: 160, maxPromptTokens: 96, longPrompt: 'drop' },
    augmentation: { maxTokens: 144 },
    training: { batchPairs: 8, maxSteps: 1, ...training },
    output: { folder: output },
    ...more,
  });
}

beforeEach(() => {
  available.bytes = 0;
});

describe('a run that does not fit', () => {
  it('is refused before anything is computed or written: Pythia-2.8B in f32 on 24 GiB', async () => {
    await using folder = await temporaryFolder();
    const model = join(folder.path, 'pythia');
    await mkdir(model);
    await copyFile(path('examples/recipes/hh-pythia-2.8b/config.json'), join(model, 'config.json'));
    for (const name of ['tokenizer.json', 'tokenizer_config.json'])
      await copyFile(join(storiesFolder, name), join(model, name));
    available.bytes = 22 * GIBIBYTE;
    const output = join(folder.path, 'run');
    const events: TrainEvent[] = [];
    const run = train(config(output, { model: { path: model, init: 'random' } }, { batchPairs: 64 }), {
      onEvent: event => events.push(event),
    });
    await expect(run).rejects.toThrow(ConfigError);
    await expect(run).rejects.toThrow(
      /A step needs \d+\.\d GiB of memory, but 22\.0 GiB are available in this test.*would fit: .*ranks/,
    );
    expect(events.map(({ type }) => type)).toContain('memory');
    expect(events.map(({ type }) => type)).not.toContain('reference');
    expect(await exists(output)).toBe(false);
  });

  it('starts all the same with training.memoryCheck: warn, and says so', async () => {
    await using folder = await temporaryFolder();
    const events: TrainEvent[] = [];
    await train(config(join(folder.path, 'run'), {}, { memoryCheck: 'warn' }), {
      onEvent: event => events.push(event),
    });
    const notice = events.find(event => event.type === 'notice')?.message;
    expect(notice).toMatch(/needs .* but 0\.00 GiB are available.*may end the run/);
  });
});

describe('fitMemory', () => {
  it('names changes that make the run fit, and they do', async () => {
    const base = config('unused', {}, { batchPairs: 16 });
    const inputs = await readPlanInputs(base, null);
    const place = { worldSize: 1, ranksHere: 1, source: 'there' };
    const bytesOf = (training: Partial<Config['training']>): number =>
      fitMemory({ ...base, training: { ...base.training, ...training } }, inputs, {
        ...place,
        availableBytes: 0,
      }).memory.totalBytes;
    const availableBytes = bytesOf({ microbatchPairs: 4 });
    const fit = fitMemory(base, inputs, { ...place, availableBytes });
    expect(fit.fits).toBe(false);
    expect(fit.changes).toContainEqual({
      change: 'training.microbatchPairs=4',
      totalBytes: availableBytes,
      fits: true,
    });
    const checkpointed = fit.changes.find(({ change }) => change.includes('activationCheckpointing'))!;
    const size = Number(/microbatchPairs=(\d+)/.exec(checkpointed.change)?.[1] ?? 16);
    expect(bytesOf({ activationCheckpointing: true, microbatchPairs: size })).toBe(checkpointed.totalBytes);
    expect(size).toBeGreaterThan(4);
  });

  it('counts all ranks of a host', async () => {
    const base = config('unused');
    const inputs = await readPlanInputs(base, null);
    const fit = fitMemory(base, inputs, {
      worldSize: 4,
      ranksHere: 2,
      availableBytes: 1e15,
      source: 'there',
    });
    expect(fit.neededBytes).toBe(2 * fit.memory.totalBytes);
    expect(fit).toMatchObject({ fits: true, changes: [] });
  });
});
