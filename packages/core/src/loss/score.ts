/** Runs packed pairs through the model: to their hidden states, or without gradient to their log-probabilities. */
import { Scope, Tensor } from '@sralign/native';
import { Graph, type Variable } from '../autograd/graph.js';
import { type PackedBatch, packExamples, packPairs, type View } from '../batch/pack.js';
import type { CausalLM } from '../model/causal-lm.js';
import type { ExampleTokens, PairTokens } from '../tokens/examples.js';
import { indexTensor, responseTargets, sequenceLogps } from './logps.js';
import { emptyPredictions, type Predictions } from './token-statistics.js';

/** Final hidden states of a batch [T, H]. The index tensors and, recording, the activations belong to the scope. */
export function batchHidden(model: CausalLM, graph: Graph, batch: PackedBatch): Variable {
  const tokens = indexTensor(batch.tokens);
  const positions = indexTensor(batch.positions);
  const segments = Tensor.from(batch.segments, [batch.segments.length / 3, 3]);
  return model.hidden(graph, { tokens, positions, context: { segments } });
}

/**
 * Log-probabilities of pairs without gradient, in one packed batch: f32 [B, 2] (chosen, rejected) on the device, owned by
 * the enclosing scope.
 *
 * @param sharedAugmentation p, for the augmented view
 */
export function pairLogps(
  model: CausalLM,
  pairs: readonly PairTokens[],
  view: View,
  sharedAugmentation: Int32Array,
): Tensor {
  return batchLogps(model, packPairs(pairs, view, sharedAugmentation), pairs.length);
}

/** The same of pairs in the plain view, or of sequences (f32 [B, 1]), with what was predicted. */
export function predictExamples(
  model: CausalLM,
  examples: readonly ExampleTokens[],
): { readonly logps: Tensor; readonly predictions: Predictions } {
  const batch = packExamples(examples);
  const predictions = emptyPredictions(batch);
  return { logps: batchLogps(model, batch, examples.length, predictions), predictions };
}

function batchLogps(model: CausalLM, batch: PackedBatch, pairs: number, predictions?: Predictions): Tensor {
  using scope = new Scope();
  using graph = new Graph('inference');
  const hidden = batchHidden(model, graph, batch).value;
  const answers = batch.responseTokens.length;
  const logps = Tensor.empty([pairs, answers / pairs]);
  sequenceLogps(
    hidden,
    model.head.compute,
    responseTargets(batch),
    logps.reshape([answers]),
    false,
    predictions,
  );
  return scope.keep(logps);
}

/** The same on the host, row by row. */
export function scorePairs(...args: Parameters<typeof pairLogps>): Float32Array {
  using logps = pairLogps(...args);
  return logps.toFloat32Array();
}
