import { currentDevice, memory, resetPeakMemory, Scope, Tensor } from '@sralign/native';
import { describe, expect, it } from 'vitest';
import { Graph, type GraphMode } from '../../src/autograd/graph.js';
import { packExamples } from '../../src/batch/pack.js';
import { preferenceGradient } from '../../src/loss/gradient.js';
import { batchHidden } from '../../src/loss/score.js';
import type { CausalLM } from '../../src/model/causal-lm.js';
import { createModel } from '../../src/model/load.js';
import { randomValues } from '../../src/model/parameters.js';
import { parseModelSpec } from '../../src/model/spec.js';
import { examplesOf, fixedPairs, tinyConfigs, tinyModel } from '../support.js';

const sft = {
  method: 'sft',
  beta: 0.1,
  lambda: 0,
  labelSmoothing: 0,
  logpReduction: 'sum',
  sftReduction: 'example',
} as const;

/** Adds the gradient of the SFT loss of pairs; returns the bytes at the peak and at the end, above the start. */
function accumulateGradient(
  model: CausalLM,
  mode: GraphMode,
  pairs = fixedPairs(6),
): { peakBytes: number; leftBytes: number } {
  const startBytes = memory().liveBytes;
  resetPeakMemory();
  const graph = new Graph(mode);
  {
    using _scope = new Scope();
    const batch = packExamples(examplesOf('sft', pairs));
    const hidden = batchHidden(model, graph, batch);
    const given = {
      responseTokens: Tensor.from(
        Int32Array.from(pairs, pair => pair.chosen.length),
        [pairs.length, 1],
      ),
      reference: null,
      augmentedPolicy: null,
      augmentedReference: null,
    };
    preferenceGradient(sft, hidden, model.head, batch, given, 1 / pairs.length);
    graph.backward();
  }
  return { peakBytes: memory().peakBytes - startBytes, leftBytes: memory().liveBytes - startBytes };
}

const gradients = (model: CausalLM): Map<string, Buffer> =>
  new Map(model.parameters.map(({ name, gradient }) => [name, Buffer.from(gradient.readBytes())]));

describe.each(Object.keys(tinyConfigs))('%s', name => {
  it.each(['f32', 'bf16'] as const)('gives the same gradients bit for bit in %s', async dtype => {
    const model = await tinyModel(name, dtype);
    model.zeroGradients();
    accumulateGradient(model, 'recording');
    const expected = gradients(model);
    model.zeroGradients();
    accumulateGradient(model, 'checkpointing');
    for (const [parameter, bytes] of gradients(model)) {
      expect(
        bytes.some(byte => byte !== 0),
        parameter,
      ).toBe(true);
      expect(bytes.equals(expected.get(parameter)!), parameter).toBe(true);
    }
    model.dispose();
  });

  it.skipIf(currentDevice() !== 'cpu')(
    'takes a fraction of the memory and gives all of it back',
    async () => {
      const layers = 8;
      const spec = parseModelSpec({ ...tinyConfigs[name], num_hidden_layers: layers }, 'config.json');
      const model = await createModel(spec, randomValues(spec.initializerRange, 1), 'f32');
      const pairs = fixedPairs(64);
      // The gradients of the parameters are made on first use.
      accumulateGradient(model, 'recording', pairs);
      const kept = accumulateGradient(model, 'recording', pairs);
      const checkpointed = accumulateGradient(model, 'checkpointing', pairs);
      expect(kept.leftBytes).toBe(0);
      expect(checkpointed.leftBytes).toBe(0);
      expect(checkpointed.peakBytes).toBeLessThan(kept.peakBytes / 3);
      model.dispose();
    },
  );
});
