/** Small models, pairs and folders that several tests share. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import type { Method } from '../src/config/method.js';
import type { CausalLM } from '../src/model/causal-lm.js';
import { createModel } from '../src/model/load.js';
import { randomValues } from '../src/model/parameters.js';
import { parseModelSpec } from '../src/model/spec.js';
import { type ExampleTokens, type PairTokens, promptAndAnswer } from '../src/tokens/examples.js';

export const storiesFolder = fileURLToPath(new URL('../../../examples/models/stories260k', import.meta.url));
export const referenceCases = fileURLToPath(new URL('./fixtures/reference', import.meta.url));

const common = {
  vocab_size: 101,
  hidden_size: 24,
  num_hidden_layers: 2,
  max_position_embeddings: 128,
  initializer_range: 0.2,
};

/** Odd sizes on purpose: nothing is a multiple of a vector. */
export const tinyConfigs: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'gpt_neox parallel': {
    ...common,
    model_type: 'gpt_neox',
    intermediate_size: 52,
    num_attention_heads: 3,
    hidden_act: 'gelu',
    rotary_pct: 0.5,
    use_parallel_residual: true,
  },
  'gpt_neox serial': {
    ...common,
    model_type: 'gpt_neox',
    intermediate_size: 52,
    num_attention_heads: 2,
    hidden_act: 'gelu_new',
    rotary_pct: 1,
    use_parallel_residual: false,
  },
  'llama grouped': {
    ...common,
    model_type: 'llama',
    intermediate_size: 38,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 6,
    hidden_act: 'silu',
    attention_bias: true,
    mlp_bias: true,
  },
  'mistral window, tied': {
    ...common,
    model_type: 'mistral',
    intermediate_size: 38,
    num_attention_heads: 4,
    num_key_value_heads: 1,
    head_dim: 6,
    hidden_act: 'silu',
    sliding_window: 7,
    tie_word_embeddings: true,
  },
};

export function tinyModel(name: string, dtype: 'f32' | 'bf16' = 'f32', seed = 1): Promise<CausalLM> {
  const spec = parseModelSpec(tinyConfigs[name], 'config.json');
  return createModel(spec, randomValues(spec.initializerRange, seed), dtype);
}

/** Token ids of a pair with a prompt of 1 to 12 and answers of 1 to 9 tokens. */
export function pairArbitrary(vocabularySize = 101): fc.Arbitrary<PairTokens> {
  const ids = (min: number, max: number): fc.Arbitrary<Int32Array> =>
    fc
      .array(fc.integer({ min: 0, max: vocabularySize - 1 }), { minLength: min, maxLength: max })
      .map(values => Int32Array.from(values));
  return fc
    .record({ prompt: ids(1, 12), chosen: ids(1, 9), rejected: ids(1, 9) })
    .map(pair => ({ ...pair, augmentedPrompt: pair.prompt }));
}

/** Pairs from a small fixed generator: the same every time. */
export function fixedPairs(count: number, vocabularySize = 101, seed = 7): PairTokens[] {
  return fc.sample(pairArbitrary(vocabularySize), { numRuns: count, seed });
}

/** What a method trains on of pairs: SFT the chosen answers, each a sequence. */
export const examplesOf = (method: Method, pairs: readonly PairTokens[]): ExampleTokens[] =>
  method === 'sft' ? pairs.map(({ prompt, chosen }) => promptAndAnswer(prompt, chosen)) : [...pairs];

/** A folder that is removed when the test ends: `await using folder = await temporaryFolder()`. */
export async function temporaryFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'sralign-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
