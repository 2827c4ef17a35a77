/**
 * Times whole training steps (forward, loss, backward, clip, RMSprop) and prints one JSON object. The reference log-probs
 * are cached but for `dpo-online`. With --peer-python the same pairs go through PyTorch in alternation, and the ratios
 * are printed too.
 *
 *   npm run bench:step -- --model pythia-70m|pythia-14m|llama-60m [--dtype f32|bf16] [--device cpu|cuda|cuda:N] [--threads 2]
 *                         [--pairs 8] [--lengths FILE.json] [--steps 5] [--activation-checkpointing]
 *                         [--microbatch PAIRS] [--peer-python PYTHON]
 *
 * --lengths names a file of [prompt, chosen, rejected] token counts; without it they are drawn by a fixed seed. Both
 * sides take all pairs at once, or accumulate over batches of --microbatch pairs where the peer's memory does not suffice.
 */
import { parseArgs } from 'node:util';
import { setThreads, synchronize, useDevice } from '@sralign/native';
import { matmulFlops } from './ceilings.js';
import { machine, parseDevice } from './machine.js';
import { OUR_STEPS, Ours, randomModel } from './ours.js';
import { pairLengths, Random, randomPairs, randomTokens } from './pairs.js';
import { Peer } from './peer.js';
import { SHAPES, type ShapeName } from './shapes.js';

const PEER_STEPS = ['dpo-online', 'dpo-cached', 'sr-dpo-cached'] as const;
const AUGMENTATION_TOKENS = 55;

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'pythia-70m' },
    dtype: { type: 'string', default: 'f32' },
    device: { type: 'string', default: 'cpu' },
    threads: { type: 'string', default: '2' },
    pairs: { type: 'string', default: '8' },
    lengths: { type: 'string' },
    steps: { type: 'string', default: '5' },
    'activation-checkpointing': { type: 'boolean', default: false },
    microbatch: { type: 'string' },
    'peer-python': { type: 'string' },
  },
});
if (!Object.hasOwn(SHAPES, values.model))
  throw new Error(`--model must be one of ${Object.keys(SHAPES).join(', ')}.`);
const { dtype } = values;
if (dtype !== 'f32' && dtype !== 'bf16') throw new Error('--dtype must be f32 or bf16.');
const shape = SHAPES[values.model as ShapeName];
const threads = Number(values.threads);
const steps = Number(values.steps);
useDevice(parseDevice(values.device));
setThreads(threads);

const random = new Random(20_261_123);
const lengths = await pairLengths(Number(values.pairs), values.lengths, random);
const pairs = randomPairs(lengths, shape.vocab_size, random);
const augmentation = randomTokens(AUGMENTATION_TOKENS, shape.vocab_size, random);

const model = await randomModel(shape, dtype);
const microbatchPairs = Number(values.microbatch ?? values.pairs);
const activationCheckpointing = values['activation-checkpointing'];
const ours = new Ours(model, pairs, augmentation, { microbatchPairs, activationCheckpointing });
const peer =
  values['peer-python'] === undefined
    ? null
    : await Peer.start(values['peer-python'], {
        config: shape,
        dtype,
        threads,
        microbatchPairs,
        augmentation: [...augmentation],
        pairs: pairs.map(({ prompt, chosen, rejected }) => ({
          prompt: [...prompt],
          chosen: [...chosen],
          rejected: [...rejected],
        })),
      });

const samples = new Map<string, number[]>();
const phases = new Map<string, Record<string, number>[]>();
for (let round = 0; round <= steps; round++) {
  // The first round warms up: primitives, allocator, threads.
  const keep = round > 0;
  if (keep) push(samples, 'matmul', matmulFlops(dtype));
  for (const kind of OUR_STEPS) {
    const startMs = performance.now();
    const metrics = await ours.step(kind);
    synchronize();
    if (keep) push(samples, `sralign ${kind}`, performance.now() - startMs);
    if (keep) push(phases, kind, metrics);
  }
  for (const kind of peer === null ? [] : PEER_STEPS) {
    const { seconds } = await peer!.ask({ step: kind });
    if (keep) push(samples, `peer ${kind}`, seconds! * 1000);
  }
}
const { peakRssBytes: peerRssBytes, versions } = (await peer?.ask({ report: true })) ?? {};
await peer?.stop();

const medians = new Map([...samples].map(([name, list]) => [name, median(list)]));
const matmulPeak = medians.get('matmul')!;
const peakRssBytes = process.resourceUsage().maxRSS * 1024;
const report = {
  machine: machine(),
  model: values.model,
  dtype,
  threads,
  pairs: pairs.length,
  tokens: lengths.reduce((sum, triple) => sum + triple[0] + triple[1] + triple[2], 0),
  steps,
  microbatchPairs,
  activationCheckpointing,
  matmulPeakGflops: rounded(matmulPeak / 1e9),
  ours: Object.fromEntries(OUR_STEPS.map(kind => [kind, ourReport(kind)])),
  peakRssBytes,
  ...(peer !== null && {
    peer: {
      versions,
      medianMs: Object.fromEntries(PEER_STEPS.map(kind => [kind, rounded(medians.get(`peer ${kind}`)!)])),
      peakRssBytes: peerRssBytes,
    },
  }),
  ratios: ratios(),
};
process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);

/** Medians of a kind of step; tokens are those of x, y+ and y- that the pass with gradient computes. */
function ourReport(kind: (typeof OUR_STEPS)[number]): Record<string, number> {
  const metrics = phases.get(kind)!;
  const flopsPerSecond = (1000 * ours.flops(kind)) / medians.get(`sralign ${kind}`)!;
  const names = Object.keys(metrics[0]!).filter(name => /^(time|memory)\//.test(name));
  return {
    medianMs: rounded(medians.get(`sralign ${kind}`)!),
    tokensPerSecond: rounded(median(metrics.map(step => step.tokens_per_second!))),
    gflops: rounded(flopsPerSecond / 1e9),
    shareOfMatmulPeak: rounded(flopsPerSecond / matmulPeak),
    ...Object.fromEntries(names.map(name => [name, rounded(median(metrics.map(step => step[name]!)))])),
  };
}

function ratios(): Record<string, number> {
  const refined = medians.get('sralign sr-dpo')!;
  const own = { 'own dpo': 'sralign dpo', 'own dpo-online': 'sralign dpo-online' };
  const others = peer === null ? [] : PEER_STEPS.map(kind => [`peer ${kind}`, `peer ${kind}`] as const);
  return {
    ...Object.fromEntries(
      [...Object.entries(own), ...others].map(([label, name]) => [
        `sr-dpo / ${label}`,
        rounded(refined / medians.get(name)!),
      ]),
    ),
    ...(peer !== null && { 'peak RSS / peer': rounded(peakRssBytes / peerRssBytes!) }),
  };
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

function push<T>(map: Map<string, T[]>, name: string, value: T): void {
  map.set(name, [...(map.get(name) ?? []), value]);
}
