/**
 * Working memory that the operations keep between calls: the buffers of native/src/cpu/scratch.h and
 * native/src/cuda/context.h, each as large as its largest use.
 *
 * The CPU's are exact but for what oneDNN takes inside a product; of CUDA's the parts of reductions are an allowance.
 */
import type { DType } from '@sralign/native';
import type { ModelSpec } from '../model/spec.js';
import { roundUp } from '../shard/flat.js';
import { bytesOf } from './activations.js';
import type { PackedShape } from './lengths.js';
import { blockTensors, widths } from './units.js';

export interface WorkspaceOptions {
  readonly spec: ModelSpec;
  readonly dtype: DType;
  /** What is recorded. */
  readonly plain: PackedShape;
  /** What is computed without gradient. */
  readonly inference: readonly PackedShape[];
  /** Rows of the largest product with the output matrix whose logits are kept, and of that whose are not; 0: none. */
  readonly keptRows: number;
  readonly recomputedRows: number;
  /** CPU threads. */
  readonly threads: number;
  /** Whether the processor multiplies bf16; where it does not, operands are widened to f32. */
  readonly nativeBf16: boolean;
}

const MEBIBYTE = 2 ** 20;

// ---- CPU -----------------------------------------------------------------------------------------------------

/** linear_logprob.cc: bytes of a panel of logits, rows of one at most, and the step of its columns. */
const PANEL = { bytes: 16 * MEBIBYTE, rows: 2048, columnStep: 2048 };
/** attention_blocks.h: query rows and keys of a block; lanes of an AVX-512 vector. */
const ATTENTION = { rows: 128, keys: 96, lanes: 16 };
/** norm.cc: blocks of rows that have sums of their own. */
const NORM = { blocks: 64, leastRows: 32 };

/** The buffers, by what needs them: bytes, each the largest use. */
type CpuWorkspace = Readonly<
  Record<
    | 'hiddenRows'
    | 'hiddenGradients'
    | 'rowTotals'
    | 'rowMoments'
    | 'logits'
    | 'logitGradients'
    | 'attention'
    | 'norm'
    | 'widenedA'
    | 'widenedB'
    | 'widenedC',
    number
  >
>;

export function cpuWorkspace(options: WorkspaceOptions): CpuWorkspace {
  const { spec, dtype, inference, keptRows, recomputedRows, plain } = options;
  const { hiddenSize: h, vocabularySize: v } = spec;
  const panelElements = (rows: number): number => {
    const panel = panelOf(rows, v);
    return panel.rows * panel.columns;
  };
  const inferenceRows = mostRowsOf(inference);
  const trainedRows = Math.max(keptRows, recomputedRows);
  const allRows = Math.max(trainedRows, inferenceRows);
  const trainedPanel = Math.max(panelElements(keptRows), panelElements(recomputedRows));
  return {
    hiddenRows: Math.min(allRows, PANEL.rows) * h * bytesOf(dtype),
    hiddenGradients: Math.min(trainedRows, PANEL.rows) * h * 4,
    rowTotals: allRows * 8,
    rowMoments: allRows * 16,
    logits: 4 * Math.max(panelElements(inferenceRows), panelElements(recomputedRows)),
    logitGradients: dtype === 'bf16' ? 2 * trainedPanel : 0,
    attention: attentionBytes(options),
    norm: normBytes(spec, plain.tokens),
    ...widenedBytes(options),
  };
}

/** Rows and columns of the largest panel, for a number of rows. */
function panelOf(rows: number, vocabulary: number): { rows: number; columns: number } {
  if (rows === 0) return { rows: 0, columns: 0 };
  const most = Math.min(rows, PANEL.rows);
  const steps = Math.max(1, Math.floor(PANEL.bytes / (4 * most) / PANEL.columnStep));
  return { rows: most, columns: Math.min(vocabulary, steps * PANEL.columnStep) };
}

/** Backward pass of a block of queries, for every thread; keys' and values' gradients for a whole tree. */
function attentionBytes({ spec, plain, threads }: WorkspaceOptions): number {
  const { heads, kvHeads, headDim } = spec.heads;
  const group = heads / kvHeads;
  const width = roundUp(headDim, ATTENTION.lanes);
  const rows = roundUp(Math.max(1, Math.floor(ATTENTION.rows / group)) * group, 2 * ATTENTION.lanes);
  const floats =
    6 * rows * width +
    2 * rows * ATTENTION.keys +
    2 * ATTENTION.keys * width +
    3 * rows +
    plain.longestTree * (2 * width + 2);
  return 4 * floats * threads;
}

function normBytes({ modelType, hiddenSize }: ModelSpec, tokens: number): number {
  const rows = Math.max(NORM.leastRows, Math.ceil(tokens / NORM.blocks));
  return Math.ceil(tokens / rows) * hiddenSize * (modelType === 'gpt_neox' ? 2 : 1) * 4;
}

/** matmul.cc, multiplyWidened: all of A, a panel of B, and of a bf16 result. */
function widenedBytes({
  spec,
  dtype,
  nativeBf16,
  plain,
  inference,
  keptRows,
  recomputedRows,
}: WorkspaceOptions): Pick<CpuWorkspace, 'widenedA' | 'widenedB' | 'widenedC'> {
  if (dtype === 'f32' || nativeBf16) return { widenedA: 0, widenedB: 0, widenedC: 0 };
  const panelElements = 2 ** 20;
  const panel = (n: number, k: number): number => Math.min(n, Math.max(Math.floor(panelElements / k), 64));
  let [a, b, c] = [0, 0, 0];
  const product = (m: number, n: number, k: number, roundedResult: boolean): void => {
    a = Math.max(a, m * k);
    b = Math.max(b, k * panel(n, k));
    if (roundedResult) c = Math.max(c, m * panel(n, k));
  };
  product(1024, 1024, 1024, true); // how fast products are here (train/flops.ts)
  const forwardTokens = Math.max(plain.tokens, ...inference.map(({ tokens }) => tokens));
  for (const [rows, columns] of blockTensors(spec).matrices) {
    product(forwardTokens, rows, columns, true);
    product(plain.tokens, columns, rows, true);
    product(rows, columns, plain.tokens, false);
  }
  const { hiddenSize: h, vocabularySize: v } = spec;
  const inferenceRows = mostRowsOf(inference);
  for (const total of [keptRows, recomputedRows, inferenceRows]) {
    if (total === 0) continue;
    const { rows, columns } = panelOf(total, v);
    product(rows, columns, h, false);
    if (total === inferenceRows) continue;
    product(rows, h, columns, false);
    product(columns, h, rows, false);
  }
  return { widenedA: 4 * a, widenedB: 4 * b, widenedC: 4 * c };
}

// ---- CUDA ----------------------------------------------------------------------------------------------------

/** matmul.cu; linear_logprob.cu; sums of norms, biases and attention, whose split depends on the GPU. */
const CUDA = { products: 32 * MEBIBYTE, panelBytes: 32 * MEBIBYTE, rows: 4096, reductions: 64 * MEBIBYTE };

function cudaWorkspaceBytes(options: WorkspaceOptions): number {
  const { spec, dtype, plain, inference, keptRows, recomputedRows } = options;
  const rows = Math.min(Math.max(keptRows, recomputedRows, mostRowsOf(inference)), CUDA.rows);
  const { attentionWidth } = widths(spec);
  const attentionHeads = attentionWidth / spec.heads.headDim;
  return (
    CUDA.products +
    CUDA.reductions +
    rows * spec.hiddenSize * (bytesOf(dtype) + 4) +
    CUDA.panelBytes * (dtype === 'bf16' ? 1.5 : 1) +
    4 * plain.tokens * attentionHeads
  );
}

/** Bytes on either device. */
export const workspaceBytes = (device: 'cpu' | 'cuda', options: WorkspaceOptions): number =>
  device === 'cuda' ? cudaWorkspaceBytes(options) : sum(Object.values(cpuWorkspace(options)));

const mostRowsOf = (shapes: readonly PackedShape[]): number =>
  Math.max(0, ...shapes.map(({ rowsOfExamples }) => sum(rowsOfExamples)));

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
