/** Runs packed pairs through the model: to their hidden states, or without gradient to their log-probabilities. */
import { Scope, Tensor } from '@sralign/native';
import { Graph, type Variable } from '../autograd/graph.js';
import { type Answers, type PackedBatch, type PairTokens, packPairs, type View } from '../batch/pack.js';
import type { CausalLM } from '../model/causal-lm.js';
import { indexTensor, responseTargets, sequenceLogps } from './logps.js';

/** Final hidden states of a batch [T, H]. The index tensors and, recording, the activations belong to the scope. */
export function batchHidden(model: CausalLM, graph: Graph, batch: PackedBatch): Variable {
  const tokens = indexTensor(batch.tokens);
  const positions = indexTensor(batch.positions);
  const segments = Tensor.from(batch.segments, [batch.segments.length / 3, 3]);
  return model.hidden(graph, { tokens, positions, context: { segments } });
}

/**
 * Log-probabilities of pairs without gradient, in one packed batch: f32 [B, 2] (chosen, rejected) or [B, 1] on the
 * device, owned by the enclosing scope.
 *
 * @param sharedAugmentation p, for the augmented view
 */
export function pairLogps(
  model: CausalLM,
  pairs: readonly PairTokens[],
  view: View,
  answers: Answers,
  sharedAugmentation: Int32Array,
): Tensor {
  using scope = new Scope();
  const batch = packPairs(pairs, view, answers, sharedAugmentation);
  using graph = new Graph('inference');
  const hidden = batchHidden(model, graph, batch).value;
  const logps = Tensor.empty([pairs.length, answers === 'both' ? 2 : 1]);
  sequenceLogps(hidden, model.head.compute, responseTargets(batch), logps.reshape([logps.size]), false);
  return scope.keep(logps);
}

/** The same on the host, row by row. */
export function scorePairs(...args: Parameters<typeof pairLogps>): Float32Array {
  using logps = pairLogps(...args);
  return logps.toFloat32Array();
}
