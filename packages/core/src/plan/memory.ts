/**
 * Memory of one rank, by what it is for, at the worst moment of a step or of the evaluation.
 *
 * N ranks, P elements of all flat parameters, P_c of those with a bf16 copy, P_b of those that are gathered as bf16
 * only, m moments (RMSprop 1, AdamW 2). Always there, in bytes:
 *
 *                      full                gradients               none, or N = 1
 *   f32 parameters     4 P / N             4 (P - P_b + P_b / N)   4 P
 *   bf16 copies        2 P_c / N           2 P_c (1 + 1 / N)       2 P_c
 *   gradients          4 P / N             4 P / N                 4 P
 *   optimizer state    4 m P / N           4 m P / N               4 m P
 *
 * and for a while (shard/sequence.ts): in `full` the gathered values of the unit a pass is in and of the next one, of
 * the head until its backward pass and of the last block from one pass to the other; in `full` and `gradients` the
 * whole gradients of a unit, 4 bytes an element, from its backward pass until they are summed: at most two such, the
 * head's from the loss on, a tied table's through the whole backward pass; with several microbatches those of all
 * units until the last.
 *
 * Activations: activations.ts. Working memory: workspace.ts.
 */
import type { DType } from '@sralign/native';
import { KEPT_LOGITS_BYTES } from '../loss/gradient.js';
import type { ModelSpec } from '../model/spec.js';
import type { Sharding } from '../shard/unit.js';
import {
  type ActivationOptions,
  backwardBytes,
  finalNormBytes,
  forwardBytes,
  headBytes,
  inferenceBytes,
  tokenBytes,
} from './activations.js';
import { headGroups, type PackedShape } from './lengths.js';
import {
  everyUnit,
  gatheredBytes,
  gradientBytes,
  largestFlat,
  type UnitSizes,
  unitElements,
  unitSizes,
} from './units.js';
import { type WorkspaceOptions, workspaceBytes } from './workspace.js';

export interface MemoryOptions {
  readonly dtype: DType;
  readonly optimizer: 'rmsprop' | 'adamw';
  readonly sharding: Sharding;
  readonly worldSize: number;
  readonly activationCheckpointing: boolean;
  /** Microbatches of a rank in a step. */
  readonly microbatches: number;
  /** The microbatch as the pass with gradient sees it, and the augmented one of the refined methods. */
  readonly plain: PackedShape;
  readonly augmented: PackedShape | null;
  /** A batch of the evaluation, which has no gradient; null: none. */
  readonly evaluation: PackedShape | null;
  readonly device: 'cpu' | 'cuda';
  /** CPU: threads of a rank, and whether the processor multiplies bf16. */
  readonly threads: number;
  readonly nativeBf16: boolean;
}

/** Bytes of a rank by kind. */
export interface MemoryByKind {
  /** f32 parameters: a shard, or the whole. */
  readonly parameters: number;
  /** bf16 copies of what products read. */
  readonly computeCopies: number;
  readonly gradients: number;
  readonly optimizerState: number;
  /** Cosines and sines of the rotary embedding. */
  readonly rotaryTables: number;
  readonly activations: number;
  /** Logits that are kept until the loss is known. */
  readonly logits: number;
  /** Parameters gathered for a moment. */
  readonly gatheredUnits: number;
  /** Whole gradients that are not summed over ranks yet. */
  readonly unreducedGradients: number;
  /** Pieces of gradients under way over MPI. */
  readonly reductionScratch: number;
  readonly workspace: number;
}

export type PlanPhase = 'augmented' | 'forward' | 'head' | 'backward' | 'optimizer' | 'evaluation';

export interface MemoryPlan {
  /** At the worst moment. */
  readonly kinds: MemoryByKind;
  readonly totalBytes: number;
  /** The phase of that moment. */
  readonly phase: PlanPhase;
  /** The worst total of each phase that there is. */
  readonly phases: Readonly<Partial<Record<PlanPhase, number>>>;
}

/** What is there for a while. */
interface Moment {
  readonly phase: PlanPhase;
  readonly activations: number;
  readonly logits?: number;
  readonly gathered?: number;
  readonly unreduced?: number;
}

/** Bytes that outlive a microbatch, because metrics are read from them: of a pair, of a row that predicts, of a target. */
const PAIR_BYTES = 52;
const ROW_BYTES = 12;
const TARGET_BYTES = 4;

export function planMemory(spec: ModelSpec, options: MemoryOptions): MemoryPlan {
  const { sharding, worldSize, dtype } = options;
  const shards = sharding === 'none' ? 1 : worldSize;
  const sizes = unitSizes(spec, dtype, shards);
  const always = residentBytes(spec, options, sizes, shards);
  const moments = momentsOf(spec, options, sizes, shards);
  const phases: Partial<Record<PlanPhase, number>> = {};
  let worst: { kinds: MemoryByKind; totalBytes: number; phase: PlanPhase } | undefined;
  for (const { phase, activations, logits = 0, gathered = 0, unreduced = 0 } of moments) {
    const kinds = { ...always, activations, logits, gatheredUnits: gathered, unreducedGradients: unreduced };
    const totalBytes = Object.values(kinds).reduce((sum, bytes) => sum + bytes, 0);
    phases[phase] = Math.max(phases[phase] ?? 0, totalBytes);
    if (worst === undefined || totalBytes > worst.totalBytes) worst = { kinds, totalBytes, phase };
  }
  return { ...worst!, phases };
}

/** What the working memory depends on. */
export function workspaceOptions(spec: ModelSpec, options: MemoryOptions): WorkspaceOptions {
  const { keptRows, recomputedRows } = headGroups(options.plain.rowsOfExamples, mostKeptRows(spec));
  const inference = [options.augmented, options.evaluation].filter(shape => shape !== null);
  return { ...options, spec, keptRows, recomputedRows, inference };
}

function residentBytes(
  spec: ModelSpec,
  options: MemoryOptions,
  sizes: UnitSizes,
  shards: number,
): Omit<MemoryByKind, 'activations' | 'logits' | 'gatheredUnits' | 'unreducedGradients'> {
  const units = everyUnit(sizes);
  const total = (count: (unit: (typeof units)[number]) => number): number =>
    units.reduce((sum, unit) => sum + count(unit), 0);
  const elements = total(unitElements);
  const rounded = total(({ bf16, both }) => bf16 + both);
  const wholeValues = options.sharding === 'gradients' && shards > 1;
  const moments = options.optimizer === 'adamw' ? 2 : 1;
  return {
    parameters: wholeValues
      ? total(({ f32, bf16, both }) => 4 * (f32 + both) + (4 * bf16) / shards)
      : (4 * elements) / shards,
    computeCopies: (2 * rounded) / shards + (wholeValues ? 2 * rounded : 0),
    gradients: (4 * elements) / shards,
    optimizerState: (4 * moments * elements) / shards,
    rotaryTables: spec.maxPositions * spec.rotary.dimensions * 4,
    reductionScratch: reductionScratchBytes(options, Math.max(...units.map(largestFlat))),
    workspace: workspaceBytes(options.device, workspaceOptions(spec, options)),
  };
}

/** native/src/mpi/reduction.cc: two pieces of every rank's part. NCCL's buffers are its own and are not counted. */
function reductionScratchBytes({ worldSize, device }: MemoryOptions, elements: number): number {
  if (worldSize === 1 || device === 'cuda') return 0;
  const piece = Math.max((4 * 2 ** 20) / worldSize, 16_384);
  return 2 * worldSize * Math.min(piece, (4 * elements) / worldSize);
}

function momentsOf(spec: ModelSpec, options: MemoryOptions, sizes: UnitSizes, shards: number): Moment[] {
  const { plain, augmented, evaluation } = options;
  const activation: ActivationOptions = { ...options, spec };
  const gather = options.sharding === 'full' && shards > 1 ? gatheredBytes : () => 0;
  const whole = shards > 1 ? gradientBytes : () => 0;
  const rows = plain.rowsOfExamples.reduce((sum, count) => sum + count, 0);
  const pairs =
    options.microbatches * (plain.examples * PAIR_BYTES + rows * ROW_BYTES + plain.targets * TARGET_BYTES);
  // Embedding, block, head.
  const [e, b, h] = [sizes.embedding, sizes.block, sizes.head].map(gather) as [number, number, number];
  const accumulated = everyUnit(sizes).reduce((sum, unit) => sum + whole(unit), 0);
  const several = options.microbatches > 1;
  /** Whole gradients, beside those of earlier microbatches. */
  const unreduced = (bytes: number): number => (several ? accumulated : bytes);
  const earlier = unreduced(0);
  const [eGradient, bGradient, hGradient] = [sizes.embedding, sizes.block, sizes.head].map(whole) as [
    number,
    number,
    number,
  ];
  // A tied table's gradient is complete with the embedding's.
  const tiedGradient = sizes.tied ? hGradient : 0;
  const { blocks } = sizes;
  const stream = plain.tokens * tokenBytes(spec, options.dtype).stream;

  const moments: Moment[] = [
    { phase: 'forward', activations: stream, gathered: e + b, unreduced: earlier },
    {
      phase: 'forward',
      activations: forwardBytes(activation, plain, blocks),
      gathered: b + h,
      unreduced: earlier,
    },
    {
      phase: 'head',
      activations: headBytes(activation, plain),
      logits: logitsBytes(spec, plain),
      gathered: b + h,
      unreduced: unreduced(hGradient),
    },
    {
      phase: 'backward',
      activations: finalNormBytes(activation, plain),
      gathered: b + h,
      unreduced: unreduced(hGradient),
    },
    {
      phase: 'backward',
      activations: backwardBytes(activation, plain, blocks),
      gathered: Math.min(blocks, 2) * b,
      unreduced: unreduced(hGradient + bGradient),
    },
    { phase: 'backward', activations: stream, unreduced: unreduced(bGradient + eGradient) },
    // The embedding's sum is the last, and waited for now.
    { phase: 'optimizer', activations: 0, unreduced: eGradient },
  ];
  if (blocks > 1) {
    moments.push(
      {
        phase: 'forward',
        activations: forwardBytes(activation, plain, blocks - 1),
        gathered: 2 * b,
        unreduced: earlier,
      },
      {
        phase: 'backward',
        activations: backwardBytes(activation, plain, blocks - 1),
        gathered: Math.min(blocks - 1, 2) * b,
        unreduced: unreduced(2 * bGradient + tiedGradient),
      },
    );
  }
  const gatheredByInference = b + Math.max(h, blocks > 1 ? b : 0);
  if (augmented !== null) {
    moments.push({
      phase: 'augmented',
      activations: inferenceBytes(activation, augmented),
      gathered: gatheredByInference,
      unreduced: earlier,
    });
  }
  if (evaluation !== null) {
    moments.push({
      phase: 'evaluation',
      activations: inferenceBytes(activation, evaluation),
      gathered: gatheredByInference,
    });
  }
  return moments.map(moment => ({ ...moment, activations: moment.activations + pairs }));
}

/** f32 [rows, vocabulary] of the largest group, and the index and log-prob tensors of its rows and targets. */
function logitsBytes(spec: ModelSpec, { rowsOfExamples, examples, targets }: PackedShape): number {
  const { mostRows, keptRows } = headGroups(rowsOfExamples, mostKeptRows(spec));
  const answers = Math.round((targets - sum(rowsOfExamples)) / examples) + 1;
  const groupTargets = (mostRows * targets) / sum(rowsOfExamples);
  return keptRows * spec.vocabularySize * 4 + 8 * mostRows + 16 * groupTargets + 8 * answers * examples;
}

const mostKeptRows = ({ vocabularySize }: ModelSpec): number =>
  Math.floor(KEPT_LOGITS_BYTES / (vocabularySize * Float32Array.BYTES_PER_ELEMENT));

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
