/**
 * The operations models are written in: forward pass, and the backward pass that goes on the tape.
 *
 * T = packed tokens, H = hidden size. "compute type" is f32 or bf16, chosen for the step; the residual stream, the
 * normalisation statistics and every gradient of a parameter are f32.
 */
import * as native from '@sralign/native';
import { type DType, type HeadShape, Tensor } from '@sralign/native';
import { type Graph, Variable } from './graph.js';
import type { Parameter } from './parameter.js';

export interface NormParameters {
  readonly weight: Parameter;
  /** LayerNorm only. */
  readonly bias?: Parameter;
  readonly epsilon: number;
}

/** Rotary tables and the position of every token. */
export interface RotaryInput {
  readonly positions: Tensor; // i32 [T]
  readonly cosines: Tensor; // f32 [P, Rh]
  readonly sines: Tensor; // f32 [P, Rh]
}

/** Rows of the embedding table as the f32 residual stream [T, H]. */
export function embedding(graph: Graph, tokens: Tensor, table: Parameter): Variable {
  const out = Tensor.empty([tokens.shape[0]!, table.shape[1]!]);
  native.embedding({ tokens, table: table.value, out });
  return graph.record(new Variable(out), [], dOut =>
    native.embeddingBackward({ tokens, dOut, dTable: table.gradient }),
  );
}

/** x W^T + b; input and output [T, K] -> [T, N] of the compute type. */
export function linear(graph: Graph, x: Variable, weight: Parameter, bias?: Parameter): Variable {
  const out = Tensor.empty([x.value.shape[0]!, weight.shape[0]!], x.value.dtype);
  native.linear({ x: x.value, weight: weight.compute, ...(bias && { bias: bias.value }), out });
  return graph.record(new Variable(out), [x], (dOut, releaseSaved) => {
    native.linearBackwardWeight({
      dOut,
      x: x.value,
      dWeight: weight.gradient,
      ...(bias && { dBias: bias.gradient }),
    });
    releaseSaved();
    x.contribute(dOut.dtype, (dX, accumulate) =>
      native.linearBackwardInput({ dOut, weight: weight.compute, dX, accumulate }),
    );
  });
}

/** LayerNorm, or RMSNorm where there is no bias: f32 stream [T, H] -> compute type [T, H]. */
export function norm(graph: Graph, x: Variable, parameters: NormParameters, computeType: DType): Variable {
  return parameters.bias === undefined
    ? rmsNorm(graph, x, parameters, computeType)
    : layerNorm(graph, x, parameters, parameters.bias, computeType);
}

function layerNorm(
  graph: Graph,
  x: Variable,
  { weight, epsilon }: NormParameters,
  bias: Parameter,
  computeType: DType,
): Variable {
  const tokens = x.value.shape[0]!;
  const out = Tensor.empty(x.value.shape, computeType);
  const mean = Tensor.empty([tokens]);
  const rstd = Tensor.empty([tokens]);
  native.layerNorm({ x: x.value, weight: weight.value, bias: bias.value, epsilon, out, mean, rstd });
  return graph.record(new Variable(out), [x, mean, rstd], dOut =>
    x.contribute('f32', (dX, accumulate) =>
      native.layerNormBackward({
        x: x.value,
        weight: weight.value,
        mean,
        rstd,
        dOut,
        dX,
        accumulate,
        dWeight: weight.gradient,
        dBias: bias.gradient,
      }),
    ),
  );
}

function rmsNorm(
  graph: Graph,
  x: Variable,
  { weight, epsilon }: NormParameters,
  computeType: DType,
): Variable {
  const out = Tensor.empty(x.value.shape, computeType);
  const rstd = Tensor.empty([x.value.shape[0]!]);
  native.rmsNorm({ x: x.value, weight: weight.value, epsilon, out, rstd });
  return graph.record(new Variable(out), [x, rstd], dOut =>
    x.contribute('f32', (dX, accumulate) =>
      native.rmsNormBackward({
        x: x.value,
        weight: weight.value,
        rstd,
        dOut,
        dX,
        accumulate,
        dWeight: weight.gradient,
      }),
    ),
  );
}

/**
 * Rotary position embedding (in place on qkv) and packed attention over the forest of segments:
 * [T, (heads + 2 kvHeads) headDim] -> [T, heads headDim].
 */
export function attention(
  graph: Graph,
  qkv: Variable,
  segments: Tensor,
  rotary: RotaryInput,
  heads: HeadShape,
  window: number,
): Variable {
  const tokens = qkv.value.shape[0]!;
  native.rotary({ qkv: qkv.value, ...rotary, heads });
  const out = Tensor.empty([tokens, heads.heads * heads.headDim], qkv.value.dtype);
  const output = new Variable(out);
  const logSumExp = Tensor.empty([tokens, heads.heads]);
  native.attention({ qkv: qkv.value, segments, heads, window, out, logSumExp });
  return graph.record(output, [qkv, output, logSumExp], dOut =>
    qkv.contribute(qkv.value.dtype, dQkv => {
      native.attentionBackward({ qkv: qkv.value, segments, heads, window, out, logSumExp, dOut, dQkv });
      native.rotary({ qkv: dQkv, ...rotary, heads, inverse: true });
    }),
  );
}

/** Attention of new tokens over a key-value cache of one layer; no gradient. */
export function cachedAttention(
  qkv: Variable,
  cache: { readonly keys: Tensor; readonly values: Tensor },
  start: number,
  rotary: RotaryInput,
  heads: HeadShape,
  window: number,
): Variable {
  native.rotary({ qkv: qkv.value, ...rotary, heads });
  const out = Tensor.empty([qkv.value.shape[0]!, heads.heads * heads.headDim], qkv.value.dtype);
  native.attentionCached({
    qkv: qkv.value,
    heads,
    window,
    keyCache: cache.keys,
    valueCache: cache.values,
    start,
    out,
  });
  return new Variable(out);
}

/** Its gradient is computed in place, in the buffer of the output's gradient. */
export function gelu(graph: Graph, x: Variable, kind: 'erf' | 'tanh'): Variable {
  const out = Tensor.empty(x.value.shape, x.value.dtype);
  native.gelu({ x: x.value, out, kind });
  const output = new Variable(out);
  return graph.record(output, [x], () => {
    x.takeGradient(output);
    x.rewriteGradient(gradient => native.geluBackward({ x: x.value, dOut: gradient, dX: gradient, kind }));
  });
}

/** silu(gate) * up of gate | up: [T, 2F] -> [T, F]. */
export function swiglu(graph: Graph, gateUp: Variable): Variable {
  const [tokens, width] = gateUp.value.shape as [number, number];
  const out = Tensor.empty([tokens, width / 2], gateUp.value.dtype);
  native.swiglu({ gateUp: gateUp.value, out });
  return graph.record(new Variable(out), [gateUp], dOut =>
    gateUp.contribute(dOut.dtype, dGateUp => native.swigluBackward({ gateUp: gateUp.value, dOut, dGateUp })),
  );
}

/** Residual stream + branch, f32 [T, H]. */
export function residual(graph: Graph, x: Variable, branch: Variable): Variable {
  const out = Tensor.empty(x.value.shape);
  native.add({ a: x.value, b: branch.value, out });
  const branchType = branch.value.dtype;
  const output = new Variable(out);
  return graph.record(output, [], dOut => {
    if (branchType === 'f32') branch.contributeFrom(output);
    else branch.contribute(branchType, dBranch => native.cast({ x: dOut, out: dBranch }));
    x.contributeFrom(output);
  });
}
