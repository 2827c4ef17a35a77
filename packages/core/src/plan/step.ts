/**
 * Communication and time of a step, from the sizes alone.
 *
 *   step = compute + communication that is not hidden + optimizer
 *
 * Compute: FLOPs of the linear layers (2 a weight and token; backward twice the forward; with checkpointing the blocks'
 * forward once more) and of attention (4 A a layer for every token that another looks at; backward 2.5 times), over
 * ceiling times efficiency.
 *
 * Communication, a rank's bytes in one direction. An all-gather of S bytes and a reduce-scatter of S bytes both cost
 * S (N - 1) / N, an all-reduce twice that:
 *
 *   full       every pass gathers all units, a backward pass again all blocks but the last; the gradients (4 P) are
 *              reduce-scattered once a step
 *   gradients  all units are gathered once, in the first pass after the update; gradients as in `full`
 *   none       the gradients are all-reduced once a step
 *
 * Gathering hides behind the computation of the unit before, summing behind that of the units after; what a pass cannot
 * hide is its first unit's gathering, the last unit's sum, and what exceeds the computation of the blocks.
 *
 * Optimizer: bound by memory; for every element of the shard the norm reads g, RMSprop reads p, g and v and writes p
 * and v, AdamW has a moment more, and a bf16 copy is written; clearing writes the whole gradient.
 */
import type { ModelSpec } from '../model/spec.js';
import type { Sharding } from '../shard/unit.js';
import { blockFlops, headFlops } from './flops.js';
import type { PackedShape } from './lengths.js';
import type { MemoryOptions } from './memory.js';
import {
  everyUnit,
  gatheredBytes,
  gradientBytes,
  type UnitSize,
  type UnitSizes,
  unitElements,
  unitSizes,
  widths,
} from './units.js';

/** What the hardware reaches. */
export interface Ceilings {
  /** FLOP/s of matrix products in the compute type, of a rank. */
  readonly flopsPerSecond: number;
  /** Share of it that a step reaches. */
  readonly efficiency: number;
  readonly memoryBytesPerSecond: number;
  /** Of a rank, in one direction; null: not known, and communication takes no time. */
  readonly linkBytesPerSecond: number | null;
}

/** Bytes that a rank sends in a step; it receives as many. */
export interface CommunicationPlan {
  readonly allGatherBytes: number;
  readonly reduceScatterBytes: number;
  readonly allReduceBytes: number;
}

export interface StepPlan {
  /** FLOPs of a rank. */
  readonly linearFlops: number;
  readonly attentionFlops: number;
  readonly communication: CommunicationPlan;
  readonly computeSeconds: number;
  readonly communicationSeconds: number;
  /** The part of it that computation does not hide. */
  readonly exposedSeconds: number;
  readonly optimizerSeconds: number;
  readonly stepSeconds: number;
}

/** Work of one microbatch in FLOPs. */
interface PassFlops {
  readonly blocks: number;
  readonly attention: number;
  readonly head: number;
}

/** @param options with the mean microbatch, not the longest one */
export function planStep(spec: ModelSpec, options: MemoryOptions, ceilings: Ceilings): StepPlan {
  const { sharding, worldSize, microbatches, augmented, activationCheckpointing } = options;
  const shards = sharding === 'none' ? 1 : worldSize;
  const sizes = unitSizes(spec, options.dtype, shards);
  const plain = passFlops(spec, options.plain);
  const inference = augmented === null ? null : passFlops(spec, augmented);
  const recomputed = activationCheckpointing ? 1 : 0;
  const seconds = (flops: number): number => flops / (ceilings.flopsPerSecond * ceilings.efficiency);

  const linearFlops =
    microbatches *
    (plain.blocks * (3 + recomputed) + plain.head * 3 + (inference?.blocks ?? 0) + (inference?.head ?? 0));
  const attentionFlops = microbatches * (plain.attention * (3.5 + recomputed) + (inference?.attention ?? 0));

  const traffic = trafficOf(sizes, sharding, worldSize);
  const link = ceilings.linkBytesPerSecond ?? Number.POSITIVE_INFINITY;
  let communicationSeconds = 0;
  let exposedSeconds = 0;
  /** `unhidden`: bytes with no computation beside them; `bytes` hide behind `flops`. */
  const stage = (unhidden: number, bytes: number, flops: number): void => {
    communicationSeconds += (unhidden + bytes) / link;
    exposedSeconds += unhidden / link + Math.max(0, bytes / link - seconds(flops));
  };
  for (let index = 0; index < microbatches; index++) {
    const passes = inference === null ? [plain] : [inference, plain];
    for (const [pass, { blocks, attention }] of passes.entries()) {
      const gathers = traffic.everyPass || (index === 0 && pass === 0);
      stage(gathers ? traffic.firstGather : 0, gathers ? traffic.otherGathers : 0, blocks + attention);
    }
    const last = index === microbatches - 1;
    stage(
      last ? traffic.lastSum : 0,
      (traffic.everyPass ? traffic.gatheredAgain : 0) + (last ? traffic.otherSums : 0),
      plain.blocks * (2 + recomputed) + plain.attention * (2.5 + recomputed),
    );
  }

  const passes = microbatches * (inference === null ? 1 : 2);
  const once = traffic.firstGather + traffic.otherGathers;
  const sums = traffic.lastSum + traffic.otherSums;
  const communication = {
    allGatherBytes: traffic.everyPass ? passes * once + microbatches * traffic.gatheredAgain : once,
    reduceScatterBytes: sharding === 'none' ? 0 : sums,
    allReduceBytes: sharding === 'none' ? sums : 0,
  };
  const computeSeconds = seconds(linearFlops + attentionFlops);
  const optimizerSeconds = optimizerBytes(sizes, options.optimizer, shards) / ceilings.memoryBytesPerSecond;
  return {
    linearFlops,
    attentionFlops,
    communication,
    computeSeconds,
    communicationSeconds,
    exposedSeconds,
    optimizerSeconds,
    stepSeconds: computeSeconds + exposedSeconds + optimizerSeconds,
  };
}

function passFlops(spec: ModelSpec, shape: PackedShape): PassFlops {
  const rows = shape.rowsOfExamples.reduce((total, count) => total + count, 0);
  return {
    blocks: shape.tokens * blockFlops(spec),
    attention: 4 * widths(spec).attentionWidth * spec.layers * shape.attendedTokens,
    head: rows * headFlops(spec),
  };
}

interface Traffic {
  /** Whether every pass gathers, or the first of a step only. */
  readonly everyPass: boolean;
  readonly firstGather: number;
  readonly otherGathers: number;
  /** By a backward pass. */
  readonly gatheredAgain: number;
  readonly lastSum: number;
  readonly otherSums: number;
}

/** Bytes that a rank sends. */
function trafficOf(sizes: UnitSizes, sharding: Sharding, worldSize: number): Traffic {
  const { embedding, block, head, tied, blocks } = sizes;
  const share = (worldSize - 1) / worldSize;
  const gradients = everyUnit(sizes).reduce((sum, unit) => sum + gradientBytes(unit), 0) * share;
  const lastGradient = gradientBytes(embedding) * share;
  if (sharding === 'none') {
    return {
      everyPass: false,
      firstGather: 0,
      otherGathers: 0,
      gatheredAgain: 0,
      lastSum: 2 * lastGradient,
      otherSums: 2 * (gradients - lastGradient),
    };
  }
  const full = sharding === 'full';
  const first = gatheredBytes(embedding) * share;
  // A tied table is freed between the ends of a pass, but only where values are freed.
  const headAgain = tied && !full ? 0 : gatheredBytes(head) * share;
  return {
    everyPass: full,
    firstGather: first,
    otherGathers: blocks * gatheredBytes(block) * share + headAgain,
    gatheredAgain: full ? (blocks - 1) * gatheredBytes(block) * share : 0,
    lastSum: lastGradient,
    otherSums: gradients - lastGradient,
  };
}

/** Bytes that clearing, norm and update read and write. */
function optimizerBytes(sizes: UnitSizes, optimizer: 'rmsprop' | 'adamw', shards: number): number {
  const moments = optimizer === 'adamw' ? 2 : 1;
  const ofUnit = (unit: UnitSize): number => {
    const update = unitElements(unit) * 4 * (4 + 2 * moments) + 2 * (unit.bf16 + unit.both);
    return update / shards + gradientBytes(unit);
  };
  return everyUnit(sizes).reduce((sum, unit) => sum + ofUnit(unit), 0);
}
