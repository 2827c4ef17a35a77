/** One rank of the scaling benchmark (scaling.ts); rank 0 prints its figures as one JSON object. */
import { joinWorld, leaveWorld, type Sharding, worldCommunicator } from '@sralign/core';
import { memory, setThreads } from '@sralign/native';
import { type OurStep, Ours, randomModel } from './ours.js';
import { pairLengths, Random, randomPairs, randomTokens } from './pairs.js';
import { SHAPES, type ShapeName } from './shapes.js';

export interface RankRequest {
  readonly model: ShapeName;
  readonly dtype: 'f32' | 'bf16';
  readonly sharding: Sharding;
  readonly threads: number;
  readonly pairsPerRank: number;
  readonly steps: number;
  readonly augmentationTokens: number;
  readonly kind: OurStep;
}

export interface RankFigures {
  readonly stepMs: number[];
  /** How long rank 0's passes waited for other ranks. */
  readonly waitingMs: number[];
  readonly tokensPerSecond: number[];
  /** Tensors that rank 0 keeps between steps: its shards of parameters, gradients and optimizer state. */
  readonly keptBytes: number;
  /** The most rank 0 had during a step. */
  readonly peakBytes: number;
}

const request = JSON.parse(process.argv[2]!) as RankRequest;
const { model: name, dtype, sharding, threads, pairsPerRank, steps, augmentationTokens, kind } = request;

joinWorld();
const communicator = worldCommunicator('cpu');
setThreads(threads);
const shape = SHAPES[name];
const random = new Random(20_261_125);
// The same lengths on every rank, so that a step of N ranks has N times the work of one, and the same for each.
const lengths = await pairLengths(pairsPerRank, undefined, random);
const pairs = randomPairs(
  lengths.flatMap(length => Array.from({ length: communicator.worldSize }, () => length)),
  shape.vocab_size,
  random,
);
const augmentation = randomTokens(augmentationTokens, shape.vocab_size, random);
const model = await randomModel(shape, dtype, { communicator, sharding });
const ours = new Ours(model, pairs, augmentation, {
  microbatchPairs: pairsPerRank,
  activationCheckpointing: false,
});

await ours.step(kind); // the first step makes gradients, workspaces and primitives
const keptBytes = memory().liveBytes;
const all: Record<string, number>[] = [];
for (let step = 0; step < steps; step++) all.push(await ours.step(kind));
if (communicator.rank === 0) {
  const of = (metric: string): number[] => all.map(metrics => metrics[metric] ?? 0);
  const peaks = all.flatMap(metrics => Object.entries(metrics).filter(([key]) => /^memory\//.test(key)));
  const figures: RankFigures = {
    stepMs: of('time/step_ms'),
    waitingMs: of('time/waiting_ms'),
    tokensPerSecond: of('tokens_per_second'),
    keptBytes,
    peakBytes: Math.max(...peaks.map(([, bytes]) => bytes)),
  };
  console.log(JSON.stringify(figures));
}
leaveWorld();
