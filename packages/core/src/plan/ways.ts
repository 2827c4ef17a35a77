/** A configuration run in other ways: which batches it packs, and what of it memory and time are planned from. */
import { cpuInfo, threads } from '@sralign/native';
import type { View } from '../batch/pack.js';
import { isRefined } from '../config/method.js';
import type { Config } from '../config/schema.js';
import type { ModelSpec } from '../model/spec.js';
import type { Sharding } from '../shard/unit.js';
import { type ExampleLengths, longestFirst, meanShape, type PackedShape, packedShape } from './lengths.js';
import type { MemoryOptions } from './memory.js';

/** The model and the examples (pairs, or those of SFT) that are planned for. */
export interface WayInputs {
  readonly spec: ModelSpec;
  /** Time is planned for their mean. */
  readonly timePairs: readonly ExampleLengths[];
  /** Memory is planned for the longest of them, which depends on what a pass packs. */
  readonly memoryPairs: readonly ExampleLengths[];
  /** Tokens of the p that all pairs share. */
  readonly sharedTokens: number;
}

export interface Way {
  readonly dtype: Config['training']['dtype'];
  readonly sharding: Sharding;
  readonly activationCheckpointing: boolean;
  readonly microbatchPairs: number;
}

/** The shape of a batch of `count` pairs in a view. */
type ShapeOf = (view: View, count: number) => PackedShape;
export type Shapes = Readonly<Record<'longest' | 'mean', ShapeOf>>;

export function shapesOf(inputs: WayInputs): Shapes {
  const { spec, timePairs, memoryPairs, sharedTokens } = inputs;
  const sorted = {
    plain: longestFirst(memoryPairs, 'plain'),
    augmented: longestFirst(memoryPairs, 'augmented'),
  };
  return {
    longest: (view, count) => {
      // The same pairs again where there are fewer.
      const pairs = sorted[view];
      const batch = Array.from({ length: count }, (_, index) => pairs[index % pairs.length]!);
      return packedShape(batch, view, sharedTokens, spec.window);
    },
    mean: (view, count) => meanShape(timePairs, count, view, sharedTokens, spec.window),
  };
}

/** The options of `planMemory` and `planStep`. */
export function memoryOptions(
  { method, training, optimizer, data, evaluation }: Config,
  worldSize: number,
  way: Way,
  shapes: Shapes,
  which: 'longest' | 'mean',
): MemoryOptions {
  const pairsOfRank = Math.ceil(training.batchPairs / worldSize);
  const microbatches = Math.ceil(pairsOfRank / way.microbatchPairs);
  const count = which === 'longest' ? way.microbatchPairs : pairsOfRank / microbatches;
  const evaluated = Math.min(evaluation.batchPairs, data.maxEvalPairs ?? evaluation.batchPairs);
  return {
    ...way,
    optimizer: optimizer.name,
    worldSize,
    microbatches,
    plain: shapes[which]('plain', count),
    augmented: isRefined(method) ? shapes[which]('augmented', count) : null,
    evaluation:
      data.eval.length === 0 ? null : shapes.longest(method === 'sft' ? 'plain' : 'augmented', evaluated),
    device: training.device === 'cpu' ? 'cpu' : 'cuda',
    threads: training.threads ?? threads(),
    nativeBf16: cpuInfo().nativeBf16,
  };
}
