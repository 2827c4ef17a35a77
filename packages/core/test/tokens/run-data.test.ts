import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { type PreferenceRow, textOf } from '../../src/data/rows.js';
import { encodeForRun } from '../../src/tokens/run-data.js';
import { loadTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.js';
import type { TrainEvent } from '../../src/train/events.js';
import { train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';
import { STORIES } from './fixtures.js';

const P = 'Be good. Query:';

let tokenizer: Tokenizer;
/** Of the longest sequence, and what p adds to it. */
let plainTokens: number;
let augmentationTokens: number;
beforeAll(async () => {
  tokenizer = await loadTokenizer(STORIES);
  const { text } = row.prompt as { text: string };
  plainTokens =
    2 + tokenizer.encode(text).length + tokenizer.encode(textOf(row.chosen), { continues: true }).length;
  augmentationTokens = tokenizer.encode(P).length;
});

const row: PreferenceRow = {
  kind: 'pair',
  file: 'f.jsonl',
  row: 3,
  prompt: { kind: 'text', text: 'Once upon a time' },
  chosen: ' there was a cat',
  rejected: ' no',
};

const config = (method: Config['method'], changes: object = {}): Config =>
  parseConfig({
    method,
    model: { path: storiesFolder },
    data: { format: 'preference', train: 'f.jsonl', eval: 'f.jsonl' },
    augmentation: { prompt: P },
    output: { folder: 'runs/x' },
    ...changes,
  });

const encode = (purpose: 'training' | 'evaluation', settings: Config, maxPositions: number) =>
  encodeForRun([row], purpose, settings, tokenizer, { vocabularySize: 512, maxPositions, modelFolder: 'M' });

describe('encodeForRun', () => {
  it('asks for p where the method reads it, and nowhere else', () => {
    const augmented = (method: Config['method'], purpose: 'training' | 'evaluation', changes = {}) =>
      encode(purpose, config(method, changes), 500).dataset.augmented;
    for (const method of ['sr-dpo', 'sr-ipo'] as const) {
      expect([augmented(method, 'training'), augmented(method, 'evaluation')]).toEqual([true, true]);
      expect(augmented(method, 'evaluation', { evaluation: { augmented: false } })).toBe(true);
    }
    for (const method of ['dpo', 'ipo'] as const) {
      expect([augmented(method, 'training'), augmented(method, 'evaluation')]).toEqual([false, true]);
      expect(augmented(method, 'evaluation', { evaluation: { augmented: false } })).toBe(false);
    }
    expect([augmented('sft', 'training'), augmented('sft', 'evaluation')]).toEqual([false, false]);
  });

  it('refuses a p that does not fit where it is needed, and says why it is left out where it is not', () => {
    const room = plainTokens + augmentationTokens - 1;
    expect(encode('training', config('sft'), room).dataset.pairs).toHaveLength(1);
    expect(encode('evaluation', config('sft'), room).notice).toBeNull();
    expect(encode('training', config('dpo'), room).notice).toBeNull();
    const { dataset, notice } = encode('evaluation', config('dpo'), room);
    expect(dataset.augmented).toBe(false);
    expect(notice).toMatch(
      /^The augmented view is not evaluated \(evaluation\.augmented: auto\)\. f\.jsonl:3, field "augmentation\.prompt": A sequence of \d+ tokens \(with the quality prompt\) does not fit the model's \d+ positions\./,
    );
    const asked = config('ipo', { evaluation: { augmented: true } });
    for (const settings of [asked, config('sr-dpo')]) {
      expect(() => encode('evaluation', settings, room)).toThrow('field "augmentation.prompt"');
    }
    const long = { augmentation: { prompt: P, maxTokens: 3 } };
    expect(encode('training', config('sft', long), 500).notice).toBeNull();
    expect(encode('evaluation', config('dpo', long), 500).notice).toContain('its limit is 3');
    expect(() => encode('training', config('sr-ipo', long), 500)).toThrow('its limit is 3');
  });

  it('refuses pairs that do not fit without p, whatever the method', () => {
    for (const method of ['sft', 'dpo', 'sr-dpo'] as const) {
      expect(() => encode('evaluation', config(method), plainTokens - 1)).toThrow(
        `f.jsonl:3, field "tokens.maxTokens": A sequence of ${plainTokens} tokens does not fit`,
      );
    }
    expect(() => encode('evaluation', config('sr-dpo'), plainTokens + augmentationTokens)).not.toThrow();
  });
});

it('a run of dpo whose p does not fit trains, evaluates the plain view and says so', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'pairs.jsonl');
  const pair = { prompt: 'Once upon a time', chosen: ' there was a cat', rejected: ' no' };
  await writeFile(file, [1, 2, 3, 4].map(n => JSON.stringify({ ...pair, rejected: ` ${n}` })).join('\n'));
  const run = (method: Config['method'], evaluation: object) => {
    const events: TrainEvent[] = [];
    const settings = config(method, {
      data: { format: 'preference', train: file, eval: file },
      augmentation: { prompt: P, maxTokens: 3 },
      training: { batchPairs: 2, maxSteps: 1 },
      evaluation,
      output: { folder: join(folder.path, method) },
    });
    return train(settings, { onEvent: event => void events.push(event) }).then(result => ({
      result,
      events,
    }));
  };
  const { result, events } = await run('dpo', {});
  expect(result.metrics.eval_margin).toBeDefined();
  expect(result.metrics['eval_sr/augmented_margin']).toBeUndefined();
  const notices = events.filter(event => event.type === 'notice');
  expect(notices).toHaveLength(1);
  expect(notices[0]!.message).toContain('The augmented view is not evaluated');
  expect((await run('ipo', { augmented: false })).events.some(({ type }) => type === 'notice')).toBe(false);
  await expect(run('sr-dpo', {})).rejects.toThrow('field "augmentation.prompt"');
});
