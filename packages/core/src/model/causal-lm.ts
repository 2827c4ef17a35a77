/** What every model family gives the trainer: parameters, hidden states, and the output matrix. */
import type { DType, Tensor } from '@sralign/native';
import type { Graph, Variable } from '../autograd/graph.js';
import type { RotaryInput } from '../autograd/ops.js';
import { cachedAttention, attention as packedAttention } from '../autograd/ops.js';
import type { Parameter } from '../autograd/parameter.js';
import { ModelError } from '../errors.js';
import type { UnitSequence } from '../shard/sequence.js';
import { rotaryTables } from './rotary.js';
import type { ModelSpec } from './spec.js';

/** Packed tokens, and either the forest of segments they form or the cache they continue. */
export interface ModelInput {
  readonly tokens: Tensor; // i32 [T]
  readonly positions: Tensor; // i32 [T]
  readonly context: { readonly segments: Tensor } | { readonly cache: KeyValueCache };
}

/** Keys and values of the tokens seen so far, per layer: [capacity, kvHeads * headDim] of the compute type. */
export interface KeyValueCache {
  readonly layers: readonly { readonly keys: Tensor; readonly values: Tensor }[];
  /** Tokens already in the cache: where the input's tokens go. */
  readonly length: number;
}

export abstract class CausalLM {
  readonly spec: ModelSpec;
  /** f32, or bf16 for products and activations with f32 master weights. */
  readonly computeType: DType;
  /** Output matrix [V, H]; the embedding itself when tied. There from the end of `hidden` on, while its graph is open. */
  readonly head: Parameter;
  /** What the user should know of how the model was loaded: sentences, none for most models. */
  readonly notices: string[] = [];
  private readonly ownUnits: UnitSequence;
  private readonly cosines: Tensor;
  private readonly sines: Tensor;
  private isDisposed = false;

  protected constructor(spec: ModelSpec, computeType: DType, units: UnitSequence, head: Parameter) {
    this.spec = spec;
    this.computeType = computeType;
    this.ownUnits = units;
    this.head = head;
    ({ cosines: this.cosines, sines: this.sines } = rotaryTables(spec.rotary, spec.maxPositions));
  }

  /** Final hidden states, normalised, of the compute type: [T, H]. */
  abstract hidden(graph: Graph, input: ModelInput): Variable;

  /** The parameters, in the units that are gathered and freed together. @throws ModelError when the model was disposed */
  get units(): UnitSequence {
    if (!this.isDisposed) return this.ownUnits;
    throw new ModelError('The model was disposed: its weights are freed.', {
      hint: 'Load it again by loadModel, or call dispose when nothing uses it any more.',
    });
  }

  get parameters(): readonly Parameter[] {
    return this.ownUnits.parameters;
  }

  get parameterCount(): number {
    return this.parameters.reduce((count, parameter) => count + parameter.size, 0);
  }

  zeroGradients(): void {
    this.units.zeroGradients();
  }

  /** Frees the weights and gradients, once. */
  dispose(): void {
    if (this.isDisposed) return;
    this.isDisposed = true;
    this.ownUnits.dispose();
    this.cosines.dispose();
    this.sines.dispose();
  }

  /** Embedding and blocks, each with the parameters of its unit; those of the output stay from here on. */
  protected stack(
    graph: Graph,
    embed: () => Variable,
    blocks: readonly ((graph: Graph, x: Variable) => Variable)[],
  ): Variable {
    const [first, ...visits] = this.units.visits;
    let x = graph.within(first!, embed);
    for (const [index, block] of blocks.entries()) {
      x = graph.within(visits[index]!, () => graph.block(x, block));
    }
    graph.enter(visits.at(-1)!);
    return x;
  }

  protected attention(graph: Graph, qkv: Variable, input: ModelInput, layer: number): Variable {
    const rotary: RotaryInput = { positions: input.positions, cosines: this.cosines, sines: this.sines };
    const { heads, window } = this.spec;
    if ('segments' in input.context) {
      return packedAttention(graph, qkv, input.context.segments, rotary, heads, window);
    }
    const { cache } = input.context;
    return cachedAttention(qkv, cache.layers[layer]!, cache.length, rotary, heads, window);
  }
}
