/**
 * Any number of ranks gives the numbers of one process: losses, final weights. Models of both families with odd sizes,
 * every sharding, batches that leave ranks without pairs, accumulation, checkpointed activations.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MODEL, ROOT, runNode, TemporaryFolder } from '../run.js';
import { compareWeights } from '../weights.js';
import { hasMpi, runRanks } from './ranks.js';

/** Odd on purpose: heads, widths and vocabulary that no number of ranks divides. The vocabulary holds the tokenizer's 512. */
const MODELS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'gpt-neox': {
    model_type: 'gpt_neox',
    vocab_size: 513,
    hidden_size: 36,
    num_hidden_layers: 3,
    num_attention_heads: 3,
    intermediate_size: 75,
    hidden_act: 'gelu',
    rotary_pct: 0.5,
    use_parallel_residual: true,
    max_position_embeddings: 300,
    initializer_range: 0.2,
  },
  'llama-tied': {
    model_type: 'llama',
    vocab_size: 513,
    hidden_size: 36,
    num_hidden_layers: 3,
    num_attention_heads: 6,
    num_key_value_heads: 3,
    intermediate_size: 75,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    max_position_embeddings: 300,
    initializer_range: 0.2,
  },
};

const SHARDINGS = ['full', 'gradients', 'none'];
const METHODS: Readonly<Record<string, string>> = { 'gpt-neox': 'sr-dpo', 'llama-tied': 'sr-ipo' };

interface Case {
  readonly model: string;
  readonly sharding: string;
  readonly dtype: 'f32' | 'bf16';
}

const cases = (['f32', 'bf16'] as const).flatMap(dtype =>
  Object.keys(MODELS).flatMap(model => SHARDINGS.map((sharding): Case => ({ model, sharding, dtype }))),
);
const nameOf = ({ model, sharding, dtype }: Case): string => `${model}-${sharding}-${dtype}`;

/** Of losses. In bf16 a product of other rows may be rounded otherwise, now and then by 2^-9. */
const TOLERANCE = { f32: 1e-5, bf16: 1e-3 };

let folder: TemporaryFolder;
let single: string;

/** 10 pairs in batches of 4: the last batch has 2, so that two of four ranks have none. */
function config(out: string, { model, sharding, dtype }: Case): object {
  return {
    method: METHODS[model],
    model: { path: folder.join(model), init: 'random', tokenizer: MODEL },
    data: {
      format: 'hh',
      train: [join(ROOT, 'examples/data/hh-rlhf/harmless-base.train.jsonl.gz')],
      eval: [join(ROOT, 'examples/data/hh-rlhf/harmless-base.eval.jsonl.gz')],
      maxTrainPairs: 10,
      maxEvalPairs: 5,
    },
    tokens: { maxTokens: 120, maxPromptTokens: 80, longPrompt: 'keep-end' },
    augmentation: { prompt: 'Be kind. Query:', maxTokens: 40 },
    // With a small epsilon a step of full size is made from the gradient of a key bias, which is nothing but rounding
    // (docs/verification.md).
    optimizer: { name: model === 'gpt-neox' ? 'rmsprop' : 'adamw', learningRate: 1e-5, epsilon: 1e-3 },
    schedule: { warmupSteps: 0 },
    training: {
      batchPairs: 4,
      microbatchPairs: sharding === 'gradients' ? 1 : null,
      activationCheckpointing: sharding === 'full',
      epochs: 2,
      seed: 5,
      threads: 1,
      sharding,
      dtype,
    },
    evaluation: { everySteps: 3, batchPairs: 2 },
    output: { folder: join(out, nameOf({ model, sharding, dtype })) },
  };
}

/** Trains every case with so many ranks; returns the folder of the runs. */
async function trainAll(ranks: number): Promise<string> {
  const out = folder.join(`ranks-${ranks}`);
  const file = folder.write(`ranks-${ranks}.json`, JSON.stringify(cases.map(one => config(out, one))));
  const program = fileURLToPath(new URL('./train-cases.mjs', import.meta.url));
  const outcome =
    ranks === 1 ? await runNode([program, file], ROOT) : await runRanks(ranks, [program, file], ROOT);
  expect(outcome).toMatchObject({ code: 0, stderr: '' });
  return out;
}

type Metrics = Readonly<Record<string, number>>;
const metricsOf = (run: string): Metrics[] =>
  readFileSync(join(run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Metrics);

beforeAll(async () => {
  folder = new TemporaryFolder();
  for (const [name, spec] of Object.entries(MODELS)) {
    mkdirSync(folder.join(name));
    folder.write(join(name, 'config.json'), JSON.stringify(spec));
  }
  if (hasMpi) single = await trainAll(1);
}, 120_000);
afterAll(() => folder[Symbol.dispose]());

describe.skipIf(!hasMpi).each([2, 3, 4])('%s ranks', ranks => {
  let out: string;
  beforeAll(async () => {
    out = await trainAll(ranks);
  }, 300_000);

  it.each(cases)('train $model in $dtype with sharding $sharding as one process does', one => {
    const [expected, run] = [join(single, nameOf(one)), join(out, nameOf(one))];
    const steps = metricsOf(run);
    const expectedSteps = metricsOf(expected);
    expect(steps.map(({ step }) => step)).toEqual(expectedSteps.map(({ step }) => step));
    for (const [index, record] of expectedSteps.entries()) {
      for (const name of [
        'loss',
        'eval_loss',
        'grad_norm',
        'margin',
        'logps/chosen',
        'eval_logps/rejected',
      ]) {
        if (record[name] === undefined) continue;
        const difference = Math.abs(steps[index]![name]! - record[name]);
        expect(difference, `${name} of record ${index}`).toBeLessThanOrEqual(
          // A margin is a difference of sums of log-probs a thousand times its size.
          TOLERANCE[one.dtype] * Math.max(Math.abs(record[name]), name === 'margin' ? 10 : 0),
        );
      }
    }
    const final = (of: string): string => join(of, 'final', 'model.safetensors');
    const weights = compareWeights(final(run), final(expected));
    expect(weights.relative, weights.tensor).toBeLessThanOrEqual(1e-5);
  });
});
