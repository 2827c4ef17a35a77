/**
 * Any number of ranks gives the numbers of one process: losses, final weights. Models of both families with odd sizes,
 * every sharding, batches that leave ranks without pairs, accumulation, checkpointed activations.
 *
 * A matrix product of more rows may add up in another order. In f32 that is a part in 10^7. In bf16 it now and then rounds an
 * activation the other way, by 2^-9, so that runs differ as soon as other pairs go through the model together, whatever the
 * number of ranks (docs/verification.md). There the ranks are compared pair by pair, which is exact, and packed pairs with
 * the error that bf16 makes anyway.
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
  readonly pairs: 'one by one' | 'packed';
}

const exact = Object.keys(MODELS).flatMap(model =>
  SHARDINGS.flatMap((sharding): Case[] => [
    { model, sharding, dtype: 'f32', pairs: sharding === 'gradients' ? 'one by one' : 'packed' },
    { model, sharding, dtype: 'bf16', pairs: 'one by one' },
  ]),
);
const rounded = Object.keys(MODELS).map(
  (model): Case => ({ model, sharding: 'full', dtype: 'bf16', pairs: 'packed' }),
);
const cases = [...exact, ...rounded];
const nameOf = ({ model, sharding, dtype, pairs }: Case): string =>
  `${model}-${sharding}-${dtype}-${pairs.replaceAll(' ', '-')}`;

const TOLERANCE = 1e-5;
/** Of the margin, absolute: it is a difference of sums of log-probs a thousand times its size. */
const MARGIN_TOLERANCE = 1e-4;
/** Of losses and gradients, relative. That of IPO is (m - 5)^2 here, so an error of m is one of 2/5 of that. */
const LOSS_TOLERANCE: Readonly<Record<string, number>> = {
  'sr-dpo': TOLERANCE,
  'sr-ipo': (2 / 5) * MARGIN_TOLERANCE,
};
/** Of the largest error of bf16: two roundings differ by more than one of them is wrong, and few numbers are compared. */
const MOST_ROUNDING = 4;
const COMPARED = [
  'loss',
  'eval_loss',
  'eval_harmless_loss',
  'grad_norm',
  'margin',
  'logps/chosen',
  'eval_logps/rejected',
];

let folder: TemporaryFolder;
let single: string;

/** 6 of 10 pairs an epoch, others in the next, in batches of 4: the last batch has 2, so that two of four ranks have none. */
function config(out: string, one: Case): object {
  const { model, sharding, dtype, pairs } = one;
  return {
    method: METHODS[model],
    model: { path: folder.join(model), init: 'random', tokenizer: MODEL },
    data: {
      format: 'hh',
      train: { path: join(ROOT, 'examples/data/hh-rlhf/harmless-base.train.jsonl.gz'), weight: 0.6 },
      eval: { path: join(ROOT, 'examples/data/hh-rlhf/harmless-base.eval.jsonl.gz'), name: 'harmless' },
      limit: 'first',
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
      microbatchPairs: pairs === 'packed' ? null : 1,
      activationCheckpointing: sharding === 'full',
      epochs: 2,
      seed: 5,
      threads: 1,
      sharding,
      dtype,
    },
    evaluation: { everySteps: 3, batchPairs: pairs === 'packed' ? 2 : 1 },
    output: { folder: join(out, nameOf(one)) },
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

function toleranceOf(name: string, value: number, method: string): number {
  if (name === 'margin') return MARGIN_TOLERANCE;
  return Math.abs(value) * (name.includes('logps') ? TOLERANCE : LOSS_TOLERANCE[method]!);
}

type Metrics = Readonly<Record<string, number>>;
const metricsOf = (run: string): Metrics[] =>
  readFileSync(join(run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Metrics);

const weightsOf = (run: string): string => join(run, 'final', 'model.safetensors');

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

  it.each(exact)('train $model in $dtype, $pairs, with sharding $sharding as one process does', one => {
    const [expected, run] = [join(single, nameOf(one)), join(out, nameOf(one))];
    const steps = metricsOf(run);
    const expectedSteps = metricsOf(expected);
    expect(steps.map(({ step }) => step)).toEqual(expectedSteps.map(({ step }) => step));
    for (const [index, record] of expectedSteps.entries()) {
      for (const name of COMPARED) {
        if (record[name] === undefined) continue;
        const difference = Math.abs(steps[index]![name]! - record[name]);
        expect(difference, `${name} of record ${index}`).toBeLessThanOrEqual(
          toleranceOf(name, record[name], METHODS[one.model]!),
        );
      }
    }
    const weights = compareWeights(weightsOf(run), weightsOf(expected));
    expect(weights.relative, weights.tensor).toBeLessThanOrEqual(1e-5);
  });

  it.each(rounded)('train $model in bf16, packed, within the rounding of one process', one => {
    const [run, alone] = [join(out, nameOf(one)), join(single, nameOf(one))];
    const precise = join(single, nameOf({ ...one, dtype: 'f32' }));
    const largest = (name: string, a: string, b: string): number => {
      const records = metricsOf(b);
      return Math.max(
        ...metricsOf(a).map((record, i) => Math.abs((record[name] ?? 0) - (records[i]![name] ?? 0))),
      );
    };
    for (const name of COMPARED) {
      expect(largest(name, run, alone), name).toBeLessThanOrEqual(
        MOST_ROUNDING * largest(name, alone, precise),
      );
    }
    const weights = (a: string, b: string): number => compareWeights(weightsOf(a), weightsOf(b)).max;
    expect(weights(run, alone)).toBeLessThanOrEqual(MOST_ROUNDING * weights(alone, precise));
  });
});
