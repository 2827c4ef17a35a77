/**
 * The units of a model (shard/unit.ts) in numbers: how many elements their flat parameters have, from the model's
 * config.json alone.
 */
import type { DType } from '@sralign/native';
import type { ModelSpec } from '../model/spec.js';
import { ALIGNMENT, roundUp } from '../shard/flat.js';

/** Elements of a unit's flat parameters, padding included, by what is gathered of them (shard/flat.ts). */
export interface UnitSize {
  readonly f32: number;
  readonly bf16: number;
  readonly both: number;
}

/** With tied embeddings `ends` holds table and final norm and is both ends of a pass. */
export interface UnitSizes {
  readonly embedding: UnitSize;
  readonly block: UnitSize;
  readonly head: UnitSize;
  readonly tied: boolean;
  readonly blocks: number;
}

/** @param shards parts that every flat is cut into */
export function unitSizes(spec: ModelSpec, dtype: DType, shards: number): UnitSizes {
  const flat = (tensors: readonly number[]): number =>
    roundUp(
      tensors.reduce((sum, size) => sum + roundUp(size, ALIGNMENT), 0),
      ALIGNMENT * shards,
    );
  const unit = ({ vectors, matrices, table }: UnitTensors): UnitSize =>
    dtype === 'f32'
      ? { f32: flat([...vectors, ...matrices, ...table]), bf16: 0, both: 0 }
      : { f32: flat(vectors), bf16: flat(matrices), both: flat(table) };
  const { embedding, block, head } = unitTensors(spec);
  return {
    embedding: unit(embedding),
    block: unit(block),
    head: unit(head),
    tied: spec.tiedEmbeddings,
    blocks: spec.layers,
  };
}

/** Elements of the model's tensors, without any padding. */
export function parameterCount(spec: ModelSpec): number {
  const { embedding, block, head } = unitTensors(spec);
  const count = ({ vectors, matrices, table }: UnitTensors): number =>
    [...vectors, ...matrices, ...table].reduce((sum, size) => sum + size, 0);
  return count(embedding) + spec.layers * count(block) + (spec.tiedEmbeddings ? 0 : count(head));
}

/** Elements of each tensor of a unit, by what is gathered of them in bf16: f32, bf16 and both. */
interface UnitTensors {
  readonly vectors: readonly number[];
  readonly matrices: readonly number[];
  readonly table: readonly number[];
}

/** With tied embeddings `embedding` and `head` are the same unit. */
function unitTensors(spec: ModelSpec): Record<'embedding' | 'block' | 'head', UnitTensors> {
  const table = spec.vocabularySize * spec.hiddenSize;
  const finalNorm = normVectors(spec);
  const { matrices, vectors } = blockTensors(spec);
  const block = { vectors, matrices: matrices.map(([rows, columns]) => rows * columns), table: [] };
  if (spec.tiedEmbeddings) {
    const ends = { vectors: finalNorm, matrices: [], table: [table] };
    return { embedding: ends, block, head: ends };
  }
  return {
    // Looking rows up needs no products, so the table is gathered in f32.
    embedding: { vectors: [table], matrices: [], table: [] },
    block,
    head: { vectors: finalNorm, matrices: [table], table: [] },
  };
}

/** Every unit once. */
export const everyUnit = ({ embedding, block, head, tied, blocks }: UnitSizes): UnitSize[] => [
  embedding,
  ...Array.from({ length: blocks }, () => block),
  ...(tied ? [] : [head]),
];

export const unitElements = ({ f32, bf16, both }: UnitSize): number => f32 + bf16 + both;
/** Bytes of the unit's whole gradient. */
export const gradientBytes = (unit: UnitSize): number => 4 * unitElements(unit);
/** Bytes of the unit while it is gathered. */
export const gatheredBytes = ({ f32, bf16, both }: UnitSize): number => 4 * f32 + 2 * bf16 + 6 * both;
/** Elements of the largest flat. */
export const largestFlat = ({ f32, bf16, both }: UnitSize): number => Math.max(f32, bf16, both);

/** Sizes of the products of a block: [output rows, input columns] of each matrix. */
export function blockTensors(spec: ModelSpec): {
  readonly matrices: readonly (readonly [number, number])[];
  readonly vectors: readonly number[];
} {
  const { hiddenSize: h, feedForwardSize: f } = spec;
  const { attentionWidth, qkvWidth, upWidth } = widths(spec);
  return {
    matrices: [
      [qkvWidth, h],
      [h, attentionWidth],
      [upWidth, h],
      [h, f],
    ],
    vectors: [
      ...normVectors(spec),
      ...normVectors(spec),
      ...(spec.attentionBias ? [qkvWidth, h] : []),
      ...(spec.mlpBias ? [upWidth, h] : []),
    ],
  };
}

interface Widths {
  /** heads * headDim */
  readonly attentionWidth: number;
  readonly qkvWidth: number;
  /** Of what the activation function reads: F, or 2 F of gate | up. */
  readonly upWidth: number;
}

export function widths({ heads, feedForwardSize, activation }: ModelSpec): Widths {
  const attentionWidth = heads.heads * heads.headDim;
  return {
    attentionWidth,
    qkvWidth: attentionWidth + 2 * heads.kvHeads * heads.headDim,
    upWidth: activation === 'swiglu' ? 2 * feedForwardSize : feedForwardSize,
  };
}

/** LayerNorm has weight and bias, RMSNorm a weight. */
const normVectors = ({ modelType, hiddenSize }: ModelSpec): number[] =>
  modelType === 'gpt_neox' ? [hiddenSize, hiddenSize] : [hiddenSize];
