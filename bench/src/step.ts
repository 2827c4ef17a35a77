/**
 * Times whole training steps (forward, loss, backward, clip, RMSprop; reference log-probs cached) and prints one JSON
 * object. With --peer-python the same pairs go through PyTorch in alternation, and the ratios are printed too.
 *
 *   npm run bench:step -- --model pythia-70m --dtype f32 --threads 2 --pairs 8 [--lengths FILE.json]
 *                         [--steps 5] [--peer-python PYTHON]
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadModel, type Method, PreferenceTrainer, scorePairs, type TrainingPair } from '@sralign/core';
import { cpuInfo, setThreads } from '@sralign/native';
import { pairLengths, Random, randomPairs, randomTokens } from './pairs.js';
import { Peer } from './peer.js';
import { SHAPES, type ShapeName } from './shapes.js';

const OURS: readonly Method[] = ['sft', 'dpo', 'sr-dpo'];
const PEERS = ['dpo-online', 'dpo-cached', 'sr-dpo-cached'] as const;
const AUGMENTATION_TOKENS = 55;

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'pythia-70m' },
    dtype: { type: 'string', default: 'f32' },
    threads: { type: 'string', default: '2' },
    pairs: { type: 'string', default: '8' },
    lengths: { type: 'string' },
    steps: { type: 'string', default: '5' },
    'peer-python': { type: 'string' },
  },
});
if (!Object.hasOwn(SHAPES, values.model))
  throw new Error(`--model must be one of ${Object.keys(SHAPES).join(', ')}.`);
if (values.dtype !== 'f32' && values.dtype !== 'bf16') throw new Error('--dtype must be f32 or bf16.');
const shape = SHAPES[values.model as ShapeName];
const threads = Number(values.threads);
const steps = Number(values.steps);
setThreads(threads);

const random = new Random(20_261_123);
const lengths = await pairLengths(Number(values.pairs), values.lengths, random);
const tokens = randomPairs(lengths, shape.vocab_size, random);
const augmentation = randomTokens(AUGMENTATION_TOKENS, shape.vocab_size, random);

const folder = await mkdtemp(join(tmpdir(), 'sralign-bench-'));
await writeFile(join(folder, 'config.json'), JSON.stringify(shape));
const model = await loadModel(folder, { dtype: values.dtype, randomSeed: 1 });
await rm(folder, { recursive: true });

const pairs = withReference();
const trainers = new Map(OURS.map(method => [method as string, trainer(method)]));
const peer =
  values['peer-python'] === undefined
    ? null
    : await Peer.start(values['peer-python'], {
        config: shape,
        dtype: values.dtype,
        threads,
        augmentation: [...augmentation],
        pairs: tokens.map(({ prompt, chosen, rejected }) => ({
          prompt: [...prompt],
          chosen: [...chosen],
          rejected: [...rejected],
        })),
      });

const seconds = new Map<string, number[]>();
const phases = new Map<string, Record<string, number>[]>();
for (let round = 0; round <= steps; round++) {
  for (const [method, { step }] of trainers) {
    const startMs = performance.now();
    const metrics = await step();
    // The first round warms up: primitives, allocator, threads.
    if (round > 0) {
      push(seconds, `sralign ${method}`, (performance.now() - startMs) / 1000);
      push(phases, method, metrics);
    }
  }
  for (const kind of peer === null ? [] : PEERS) {
    const { seconds: taken } = await peer!.ask({ step: kind });
    if (round > 0) push(seconds, `peer ${kind}`, taken!);
  }
}

const medians = Object.fromEntries([...seconds].map(([name, list]) => [name, median(list)]));
const { peakRssBytes: peerRssBytes } = (await peer?.ask({ report: true })) ?? {};
await peer?.stop();
const peakRssBytes = process.resourceUsage().maxRSS * 1024;
const cpu = cpuInfo();
process.stdout.write(
  `${JSON.stringify(
    {
      machine: {
        model: cpu.model,
        kernels: cpu.kernels,
        nativeBf16: cpu.nativeBf16,
        oneDnn: cpu.oneDnnVersion,
      },
      model: values.model,
      dtype: values.dtype,
      threads,
      pairs: pairs.length,
      tokens: lengths.reduce((sum, triple) => sum + triple[0] + triple[1] + triple[2], 0),
      steps,
      medianMs: Object.fromEntries(
        Object.entries(medians).map(([name, value]) => [name, round(value * 1000)]),
      ),
      ours: Object.fromEntries([...phases].map(([method, list]) => [method, medianMetrics(list)])),
      peakRssBytes,
      ...(peer !== null && { peer: { peakRssBytes: peerRssBytes, ratios: ratios() } }),
    },
    null,
    2,
  )}\n`,
);

function withReference(): TrainingPair[] {
  const plain = scorePairs(model, tokens, 'plain', 'both', augmentation);
  const augmented = scorePairs(model, tokens, 'augmented', 'both', augmentation);
  return tokens.map((pair, i) => ({
    tokens: pair,
    reference: { chosen: plain[2 * i]!, rejected: plain[2 * i + 1]! },
    augmentedReference: { chosen: augmented[2 * i]!, rejected: augmented[2 * i + 1]! },
    source: `pair ${i}`,
  }));
}

function trainer(method: Method): { step: () => Promise<Record<string, number>> } {
  const preference = new PreferenceTrainer(model, augmentation, {
    method,
    beta: 0.1,
    lambda: 0.3,
    labelSmoothing: 0,
    logpReduction: 'sum',
    sftReduction: 'example',
    optimizer: { name: 'rmsprop', alpha: 0.99, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
    maxGradNorm: 10,
    microbatchPairs: pairs.length,
  });
  return { step: () => preference.step(pairs, 5e-7) };
}

function ratios(): Record<string, number> {
  const refined = medians['sralign sr-dpo']!;
  return {
    'sr-dpo / peer dpo-online': round(refined / medians['peer dpo-online']!),
    'sr-dpo / peer dpo-cached': round(refined / medians['peer dpo-cached']!),
    'sr-dpo / peer sr-dpo-cached': round(refined / medians['peer sr-dpo-cached']!),
    'sr-dpo / own dpo': round(refined / medians['sralign dpo']!),
    'peak RSS / peer': round(peakRssBytes / peerRssBytes!),
  };
}

function medianMetrics(list: readonly Record<string, number>[]): Record<string, number> {
  const names = Object.keys(list[0]!).filter(
    name => name.startsWith('time/') || name === 'mfu' || name === 'tokens_per_second',
  );
  return Object.fromEntries(names.map(name => [name, round(median(list.map(metrics => metrics[name]!)))]));
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}

function push<T>(map: Map<string, T[]>, name: string, value: T): void {
  map.set(name, [...(map.get(name) ?? []), value]);
}
