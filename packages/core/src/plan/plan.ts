/** The plan of a run: what it takes of a rank's memory and how long a step lasts, and what else would fit. */
import { configureCompute } from '../comm/compute.js';
import type { Config } from '../config/schema.js';
import { ConfigError } from '../errors.js';
import { SHARDINGS, type Sharding } from '../shard/unit.js';
import { measureCeilings } from './ceilings.js';
import { readPlanInputs } from './inputs.js';
import { type MemoryPlan, planMemory } from './memory.js';
import { type Ceilings, planStep, type StepPlan } from './step.js';
import { parameterCount } from './units.js';
import { memoryOptions, shapesOf, type Way } from './ways.js';

/**
 * Shares of the products' peak that steps reach, all but the optimizer counted: on the CPU the means of what the steps
 * of docs/performance.md reached (f32 0.78 and 0.86, bf16 0.72 and 0.78), elsewhere an assumption.
 */
const MEASURED_EFFICIENCY = { f32: 0.82, bf16: 0.75 } as const;
const ASSUMED_EFFICIENCY = 0.6;

export interface PlanRequest {
  readonly worldSize: number;
  /** Of a rank. */
  readonly memoryBytes: number;
  /** What is given instead of measured here; without a link communication takes no time. */
  readonly ceilings?: {
    readonly flopsPerSecond?: number;
    readonly memoryBytesPerSecond?: number;
    readonly linkBytesPerSecond?: number;
    readonly efficiency?: number;
  };
  /** A folder whose config.json stands in for a model that is not on this machine. */
  readonly spareFolder?: string;
}

/** Another way to run the same steps. */
export interface Alternative {
  readonly sharding: Sharding;
  readonly activationCheckpointing: boolean;
  /** With the microbatch of the configuration. */
  readonly totalBytes: number;
  readonly fits: boolean;
  /** The largest that fits, with its memory and step; null: none. */
  readonly largest: {
    readonly microbatchPairs: number;
    /** The training.microbatchPairs that stands for it: null where the number itself does not divide the batch. */
    readonly setting: number | null;
    readonly totalBytes: number;
    readonly stepSeconds: number;
  } | null;
}

export interface RunPlan {
  readonly worldSize: number;
  readonly memoryBytes: number;
  readonly parameters: number;
  readonly sharding: Sharding;
  readonly dtype: 'f32' | 'bf16';
  readonly activationCheckpointing: boolean;
  readonly batchPairs: number;
  readonly microbatchPairs: number;
  /** Of a rank in a step. */
  readonly microbatches: number;
  readonly memory: MemoryPlan;
  readonly freeBytes: number;
  readonly fits: boolean;
  readonly step: StepPlan;
  readonly ceilings: Ceilings;
  readonly alternatives: readonly Alternative[];
  readonly assumptions: readonly string[];
}

/**
 * Plans the steps of a configuration. Needs the model's config.json, not its weights.
 *
 * @throws ModelError, DataError for what cannot be read; ConfigError when the device cannot be measured
 */
export async function planRun(config: Config, request: PlanRequest): Promise<RunPlan> {
  const inputs = await readPlanInputs(config, request.spareFolder ?? null);
  const { ceilings, origins } = ceilingsOf(config, request);
  const { batchPairs, sharding, activationCheckpointing, dtype } = config.training;
  const pairsOfRank = Math.ceil(batchPairs / request.worldSize);
  const microbatchPairs = Math.min(config.training.microbatchPairs ?? pairsOfRank, pairsOfRank);

  const { worldSize } = request;
  const shapes = shapesOf(inputs);
  const planned = (way: Way): { memory: MemoryPlan; step: StepPlan } => {
    const memory = planMemory(inputs.spec, memoryOptions(config, worldSize, way, shapes, 'longest'));
    const step = planStep(inputs.spec, memoryOptions(config, worldSize, way, shapes, 'mean'), ceilings);
    return { memory, step };
  };
  const fits = (bytes: number): boolean => bytes <= request.memoryBytes;
  const { memory, step } = planned({ dtype, sharding, activationCheckpointing, microbatchPairs });

  // A configuration asks for microbatches that divide the batch; null is all pairs of a rank, whatever they are.
  const divides = (size: number): boolean => batchPairs % size === 0;
  const sizes = Array.from({ length: pairsOfRank }, (_, index) => pairsOfRank - index).filter(
    size => size === pairsOfRank || divides(size),
  );
  // One rank has nobody to share with.
  const shardings = request.worldSize === 1 ? [sharding] : SHARDINGS;
  const alternatives = shardings.flatMap(sharding =>
    [false, true].map((activationCheckpointing): Alternative => {
      const way = { dtype, sharding, activationCheckpointing };
      const { totalBytes } = planned({ ...way, microbatchPairs }).memory;
      const largest = sizes
        .map(size => ({ size, ...planned({ ...way, microbatchPairs: size }) }))
        .find(candidate => fits(candidate.memory.totalBytes));
      return {
        ...way,
        totalBytes,
        fits: fits(totalBytes),
        largest:
          largest === undefined
            ? null
            : {
                microbatchPairs: largest.size,
                setting: divides(largest.size) ? largest.size : null,
                totalBytes: largest.memory.totalBytes,
                stepSeconds: largest.step.stepSeconds,
              },
      };
    }),
  );
  return {
    worldSize: request.worldSize,
    memoryBytes: request.memoryBytes,
    parameters: parameterCount(inputs.spec),
    sharding,
    dtype,
    activationCheckpointing,
    batchPairs,
    microbatchPairs,
    microbatches: Math.ceil(pairsOfRank / microbatchPairs),
    memory,
    freeBytes: request.memoryBytes - memory.totalBytes,
    fits: fits(memory.totalBytes),
    step,
    ceilings,
    alternatives,
    assumptions: [
      `model: ${inputs.modelSource}`,
      `lengths: ${inputs.lengthsSource}`,
      ...origins,
      ...remarks(config, request),
    ],
  };
}

function ceilingsOf(
  { training }: Config,
  { ceilings: given = {} }: PlanRequest,
): { ceilings: Ceilings; origins: string[] } {
  const { flopsPerSecond, memoryBytesPerSecond, linkBytesPerSecond } = given;
  const efficiency = efficiencyOf(training, given);
  const measured =
    flopsPerSecond === undefined || memoryBytesPerSecond === undefined ? measuredHere(training) : null;
  const ceilings = {
    flopsPerSecond: flopsPerSecond ?? measured!.flopsPerSecond,
    memoryBytesPerSecond: memoryBytesPerSecond ?? measured!.memoryBytesPerSecond,
    linkBytesPerSecond: linkBytesPerSecond ?? null,
    efficiency: efficiency.value,
  };
  const origin = (value: number | undefined): string => (value === undefined ? 'measured here' : 'given');
  return {
    ceilings,
    origins: [
      `products: ${short(ceilings.flopsPerSecond / 1e12)} TFLOP/s, ${origin(flopsPerSecond)}, ` +
        `of which a step reaches ${efficiency.value}, ${efficiency.origin}`,
      `memory: ${short(ceilings.memoryBytesPerSecond / 1e9)} GB/s, ${origin(memoryBytesPerSecond)}`,
    ],
  };
}

/** @returns the share of the products that a step reaches, and where that is from, for people */
function efficiencyOf(
  { device, dtype }: Config['training'],
  { efficiency, flopsPerSecond }: NonNullable<PlanRequest['ceilings']>,
): { value: number; origin: string } {
  if (efficiency !== undefined) return { value: efficiency, origin: 'given' };
  return flopsPerSecond === undefined && device === 'cpu'
    ? { value: MEASURED_EFFICIENCY[dtype], origin: 'measured on a CPU (docs/performance.md)' }
    : { value: ASSUMED_EFFICIENCY, origin: 'assumed, not measured' };
}

function measuredHere(training: Config['training']): ReturnType<typeof measureCeilings> {
  try {
    configureCompute(training);
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    throw new ConfigError(`The device ${training.device} cannot be measured: it is not on this machine.`, {
      field: 'training.device',
      hint: 'Say what it reaches with --tflops and --memory-gb-per-s.',
      cause,
    });
  }
  return measureCeilings(training.dtype);
}

/** Three digits, or all before the point. */
const short = (value: number): string => (value < 100 ? value.toPrecision(3) : Math.round(value).toString());

function remarks({ training, reference }: Config, { worldSize, ceilings }: PlanRequest): string[] {
  const lines: string[] = [];
  if (worldSize > 1) {
    const link = ceilings?.linkBytesPerSecond;
    lines.push(
      link === undefined
        ? 'communication: no --link-gb-per-s, so it is counted as no time'
        : `communication: ${short(link / 1e9)} GB/s a rank and direction, given; (N - 1) / N of what is gathered ` +
            'or summed, and hidden behind the computation of neighbouring blocks',
    );
  }
  if (reference.model !== null) {
    lines.push(
      'reference: while its log-probs are computed, before the first step, its parameters are there too, not counted',
    );
  }
  if (worldSize > training.batchPairs) {
    lines.push(
      `batch: ${training.batchPairs} pairs leave ${worldSize - training.batchPairs} ranks without one`,
    );
  }
  lines.push(
    training.device === 'cpu'
      ? 'not counted: the process itself, and memory that is kept for the next tensors (up to a quarter of the peak)'
      : 'not counted: the CUDA context, NCCL and what the memory pool loses to pieces (leave about 3 GiB)',
  );
  if (training.device === 'cpu' && worldSize > 1) {
    lines.push('ranks: each is taken to have what was measured here for itself');
  }
  return lines;
}
