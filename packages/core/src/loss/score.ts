/** Runs a packed batch through the model up to the log-probability of every answer. */
import { Scope, Tensor } from '@sralign/native';
import { Graph, type Variable } from '../autograd/graph.js';
import { type Answers, type PackedBatch, type PairTokens, packPairs, type View } from '../batch/pack.js';
import type { CausalLM } from '../model/causal-lm.js';
import { sequenceLogps } from './logps.js';

/**
 * log pi(y | x) of the batch's Q answers: f32 [Q]. The index tensors and, recording, the activations belong to the
 * current scope.
 */
export function batchLogps(model: CausalLM, graph: Graph, batch: PackedBatch): Variable {
  const tokens = indexTensor(batch.tokens);
  const positions = indexTensor(batch.positions);
  const segments = Tensor.from(batch.segments, [batch.segments.length / 3, 3]);
  const hidden = model.hidden(graph, { tokens, positions, context: { segments } });
  return sequenceLogps(graph, hidden, model.head, {
    rows: indexTensor(batch.rows),
    targetRows: indexTensor(batch.targetRows),
    labels: indexTensor(batch.labels),
    sequenceOffsets: indexTensor(batch.sequenceOffsets),
  });
}

/**
 * Log-probabilities of pairs without gradient, in one packed batch: f32 [B, 2] (chosen, rejected) or [B, 1].
 *
 * @param sharedAugmentation p, for the augmented view
 */
export function scorePairs(
  model: CausalLM,
  pairs: readonly PairTokens[],
  view: View,
  answers: Answers,
  sharedAugmentation: Int32Array,
): Float32Array {
  using _scope = new Scope();
  const batch = packPairs(pairs, view, answers, sharedAugmentation);
  return batchLogps(model, new Graph(false), batch).value.toFloat32Array();
}

const indexTensor = (values: Int32Array): Tensor => Tensor.from(values, [values.length]);
