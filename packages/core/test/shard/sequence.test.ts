/** Every rank starts the same operations in the same order, whatever data it has, and whether it has any. */
import { type Collective, type Communicator, Scope, Tensor } from '@sralign/native';
import { describe, expect, it } from 'vitest';
import { Graph, type GraphMode } from '../../src/autograd/graph.js';
import { packPairs } from '../../src/batch/pack.js';
import { preferenceGradient } from '../../src/loss/gradient.js';
import { batchHidden, pairLogps } from '../../src/loss/score.js';
import type { CausalLM } from '../../src/model/causal-lm.js';
import { createModel } from '../../src/model/load.js';
import { randomValues } from '../../src/model/parameters.js';
import { parseModelSpec } from '../../src/model/spec.js';
import { SHARDINGS, type Sharding } from '../../src/shard/unit.js';
import { fixedPairs, tinyConfigs } from '../support.js';

/** One of 2 ranks that writes down what it starts; what the other brings is what this one has. */
function recorder(log: string[]): Communicator {
  const done: Collective = { wait: () => {} };
  const copy = (part: Tensor, whole: Tensor): void => {
    for (const start of [0, part.size]) {
      using target = whole.rows(start, start + part.size);
      if (target.byteOffset !== part.byteOffset || target.memory !== part.memory) target.copyFrom(part);
    }
  };
  return {
    rank: 0,
    worldSize: 2,
    hosts: ['a', 'b'],
    allGather(shard, out) {
      log.push(`all-gather ${shard.dtype} ${out.size}`);
      copy(shard, out);
      return done;
    },
    reduceScatter(input, shard) {
      log.push(`reduce-scatter ${input.size}`);
      using own = input.rows(0, shard.size);
      shard.copyFrom(own);
      return done;
    },
    allReduce(tensor) {
      log.push(`all-reduce ${tensor.size}`);
      return done;
    },
    broadcast: () => done,
    barrier: () => done,
    exchange: value => [value, value],
  };
}

/** What a rank starts in a step of Sr-DPO of two microbatches. */
async function stepOf(
  name: string,
  layers: number,
  sharding: Sharding,
  dtype: 'f32' | 'bf16',
  mode: GraphMode,
  empty: boolean,
) {
  const log: string[] = [];
  const communicator = recorder(log);
  const spec = parseModelSpec({ ...tinyConfigs[name], num_hidden_layers: layers }, 'config.json');
  const model = await createModel(spec, randomValues(0.2, 1), dtype, { communicator, sharding });
  model.zeroGradients();
  for (const last of [false, true]) {
    model.units.reducing = last;
    if (empty) {
      model.units.emptyPass(false);
      model.units.emptyPass(true);
    } else pass(model, mode);
  }
  model.units.finishReductions();
  model.units.invalidate();
  model.units.emptyPass(false);
  model.dispose();
  return log;
}

/** A microbatch: the augmented pass, forward and backward. */
function pass(model: CausalLM, mode: GraphMode): void {
  using _scope = new Scope();
  const pairs = fixedPairs(3);
  const augmented = pairLogps(model, pairs, 'augmented', Int32Array.of(1, 2));
  const batch = packPairs(pairs, 'plain');
  using graph = new Graph(mode);
  const hidden = batchHidden(model, graph, batch);
  const options = { method: 'sr-dpo', beta: 0.1, lambda: 0.3, labelSmoothing: 0 } as const;
  const given = {
    responseTokens: Tensor.from(batch.responseTokens, [3, 2]),
    reference: augmented,
    augmentedPolicy: augmented,
    augmentedReference: augmented,
  };
  const all = { ...options, logpReduction: 'sum', sftReduction: 'example' } as const;
  preferenceGradient(all, hidden, model.head, batch, given, 1 / 3);
  graph.backward();
}

describe.each(['gpt_neox parallel', 'mistral window, tied'])('%s', name => {
  it.each(SHARDINGS.flatMap(sharding => [1, 3].map(layers => ({ sharding, layers }))))(
    'with sharding $sharding and $layers layers',
    async ({ sharding, layers }) => {
      for (const dtype of ['f32', 'bf16'] as const) {
        const full = await stepOf(name, layers, sharding, dtype, 'recording', false);
        expect(full.length).toBeGreaterThan(layers);
        expect(await stepOf(name, layers, sharding, dtype, 'recording', true)).toEqual(full);
        expect(await stepOf(name, layers, sharding, dtype, 'checkpointing', false)).toEqual(full);
      }
    },
  );
});

it('gathers a unit for each pass with sharding full, and sums each gradient once a step', async () => {
  const log = await stepOf('gpt_neox parallel', 3, 'full', 'f32', 'recording', false);
  const count = (text: string): number => log.filter(entry => entry.startsWith(text)).length;
  expect(count('reduce-scatter')).toBe(5);
  // 5 units in each of 3 forward passes, and 2 blocks again in each backward pass: the last block and the head stay for it.
  expect(count('all-gather')).toBe(2 * (5 + 5 + 2) + 5);
});
