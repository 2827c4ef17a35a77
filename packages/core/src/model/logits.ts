/** The logits of one whole sequence, for verification and inspection; training never makes them. */
import { linear, Scope, Tensor } from '@sralign/native';
import { Graph } from '../autograd/graph.js';
import type { CausalLM } from './causal-lm.js';

/** Next-token logits after every position of a sequence: f32 [T, V]. */
export function sequenceLogits(model: CausalLM, tokens: ArrayLike<number>): Float32Array {
  using _scope = new Scope();
  const length = tokens.length;
  using graph = new Graph('inference');
  const hidden = model.hidden(graph, {
    tokens: Tensor.from(Int32Array.from(tokens), [length]),
    positions: Tensor.from(
      Int32Array.from({ length }, (_, i) => i),
      [length],
    ),
    context: { segments: Tensor.from(Int32Array.of(0, length, -1), [1, 3]) },
  });
  const logits = Tensor.empty([length, model.spec.vocabularySize]);
  linear({ x: hidden.value, weight: model.head.compute, out: logits });
  return logits.toFloat32Array();
}
