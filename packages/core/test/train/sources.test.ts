/** Runs on several sources: what is drawn of them, how often, and what is told of each. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import { readMetrics } from '../../src/metrics/jsonl.js';
import type { TrainEvent } from '../../src/train/events.js';
import { train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const WORDS = ['cat', 'dog', 'sun', 'tree', 'ball', 'boat', 'bird', 'cake', 'girl', 'boy', 'moon', 'frog'];

async function writePairs(file: string, words: readonly string[], place: string): Promise<string> {
  await mkdir(dirname(file), { recursive: true });
  const pairs = words.map(word => ({
    prompt: `Tell me of the ${word} in the ${place}.`,
    chosen: ` The ${word} was happy.`,
    rejected: ` No ${word} for you.`,
  }));
  await writeFile(file, pairs.map(pair => `${JSON.stringify(pair)}\n`).join(''));
  return file;
}

function config(folder: string, changes: Record<string, Record<string, unknown>>) {
  const base: Record<string, Record<string, unknown>> = {
    model: { path: storiesFolder },
    tokens: { maxTokens: 60, maxPromptTokens: 40 },
    optimizer: { learningRate: 1e-3 },
    schedule: { warmupSteps: 0 },
    training: { batchPairs: 4 },
    checkpoint: { everyMinutes: null },
    output: { folder: join(folder, 'run') },
  };
  for (const [section, values] of Object.entries(changes)) base[section] = { ...base[section], ...values };
  return parseConfig({ method: 'dpo', ...base });
}

async function run(...args: Parameters<typeof train>) {
  const events: TrainEvent[] = [];
  const result = await train(args[0], { ...args[1], onEvent: event => events.push(event) });
  const start = events.find(event => event.type === 'start')!;
  return { result, events, start };
}

it('mixes sources by their weights, and goes on exactly after an interruption', async () => {
  await using folder = await temporaryFolder();
  const home = await writePairs(
    join(folder.path, 'home/train-00000-of-00001.jsonl'),
    WORDS.slice(0, 4),
    'house',
  );
  await writePairs(join(folder.path, 'home/test-00000-of-00001.jsonl'), WORDS, 'shed');
  const park = await writePairs(join(folder.path, 'park.jsonl'), WORDS, 'park');
  const data = {
    train: [
      { path: dirname(home), weight: 2, name: 'home' },
      { path: park, weight: 0.5 },
    ],
  };
  const settings = { data, training: { batchPairs: 3, epochs: 2, seed: 7 } };
  const { start, result, events } = await run(config(join(folder.path, 'whole'), settings));
  expect(events.flatMap(event => (event.type === 'notice' ? [event.message] : []))).toContain(
    `data.train: ${dirname(home)}: the split train is read (1 file); 1 file of test is left out: ` +
      'test-00000-of-00001.jsonl. Name another split by {split: …}.',
  );
  // (2 x 4 + 0.5 x 12) / 3 pairs a step, in each of two epochs.
  expect(start.totalSteps).toBe(10);
  expect(start.reports.map(({ file, source, pairs }) => [file, source, pairs])).toEqual([
    [home, 'home', 4],
    [park, null, 12],
  ]);
  const records = await readMetrics(join(result.runFolder, 'metrics.jsonl'));
  expect(records.filter(record => 'epoch' in record).map(({ epoch }) => epoch)).toEqual([
    ...[0, 3 / 14, 6 / 14, 9 / 14, 12 / 14],
    ...[1, 1 + 3 / 14, 1 + 6 / 14, 1 + 9 / 14, 1 + 12 / 14],
  ]);
  const inPart = config(join(folder.path, 'part'), settings);
  const controller = new AbortController();
  await train(inPart, {
    signal: controller.signal,
    onEvent: event => event.type === 'step' && event.step === 6 && controller.abort(),
  });
  const { result: resumed } = await run(inPart, { resume: true });
  expect(resumed.metrics.num_tokens).toBe(result.metrics.num_tokens);
  const weights = (of: typeof result) => readFile(join(of.finalFolder!, 'model.safetensors'));
  expect((await weights(resumed)).equals(await weights(result))).toBe(true);
  const other = { ...settings, data: { train: [data.train[0], { path: park, weight: 1 }] } };
  await expect(train(config(join(folder.path, 'part'), other), { resume: true })).rejects.toThrow(
    'data.train',
  );
  expect(await readFile(join(result.finalFolder!, 'README.md'), 'utf8')).toMatch(
    /\| home: .*train-00000-of-00001\.jsonl \|/,
  );
});

it('evaluates named sources for themselves as they would be alone, and keeps the best of one', async () => {
  await using folder = await temporaryFolder();
  const trained = await writePairs(join(folder.path, 'train.jsonl'), WORDS, 'house');
  const [park, town, zoo] = await Promise.all(
    ['park', 'town', 'zoo'].map((place, i) =>
      writePairs(join(folder.path, `${place}.jsonl`), WORDS.slice(i, 3 + 2 * i), place),
    ),
  );
  const settings = (evaluated: unknown, keepBest: string) => ({
    data: { train: trained, eval: evaluated },
    training: { maxSteps: 4 },
    evaluation: { everySteps: 2, batchPairs: 2 },
    checkpoint: { keepBest },
  });
  const named = [
    { path: park, name: 'out' },
    { path: town, name: 'out' },
    { path: zoo, name: 'z.1' },
    trained,
  ];
  const { result, events } = await run(config(folder.path, settings(named, 'eval_z.1_loss')));
  const evaluation = events.filter(event => event.type === 'evaluate').at(-1)!;
  const alone = await run(config(join(folder.path, 'alone'), settings([park, town], 'eval_loss')));
  for (const metric of ['loss', 'rewards/accuracies', 'margin', 'logps/chosen', 'entropy']) {
    expect(evaluation.metrics[`eval_out_${metric}`], metric).toBeCloseTo(
      alone.result.metrics[`eval_${metric}`]!,
      5,
    );
  }
  expect(Object.keys(evaluation.metrics)).toContain('eval_z.1_loss');
  expect(Object.keys(evaluation.metrics)).toContain('eval_loss');
  expect(result.best!.metric).toBe('eval_z.1_loss');
  const pairsOf = (name: string) => evaluation.intervals[`eval_${name}rewards/accuracies`]!.pairs;
  expect([pairsOf(''), pairsOf('out_'), pairsOf('z.1_')]).toEqual([3 + 4 + 5 + 12, 7, 5]);
});

it('draws a sample of all files, and says how much it is', async () => {
  await using folder = await temporaryFolder();
  const files = await Promise.all(
    ['house', 'park', 'town', 'zoo'].map(place =>
      writePairs(join(folder.path, `${place}.jsonl`), WORDS, place),
    ),
  );
  const settings = (limit: string, seed: number) => ({
    data: { train: files, eval: files, limit, maxTrainPairs: 24, maxEvalPairs: 20 },
    training: { maxSteps: 1, seed },
    evaluation: { atStart: false },
  });
  const reportsOf = async (limit: string, seed: number) => {
    const { start } = await run(
      config(join(folder.path, `${limit}-${seed}-${Math.random()}`), settings(limit, seed)),
    );
    return start.reports.filter(({ purpose }) => purpose === 'evaluation');
  };
  const sampled = await reportsOf('sample', 0);
  expect(sampled).toHaveLength(4);
  for (const { rows, pairs, notDrawn, stoppedEarly } of sampled) {
    expect([rows, pairs + notDrawn, stoppedEarly]).toEqual([12, 12, false]);
    expect(pairs).toBeGreaterThan(0);
  }
  expect(sampled.reduce((sum, { pairs }) => sum + pairs, 0)).toBe(20);
  expect(await reportsOf('sample', 0)).toEqual(sampled);
  const counts = (reports: typeof sampled) => reports.map(({ pairs }) => pairs);
  expect(counts(await reportsOf('sample', 1))).not.toEqual(counts(sampled));
  const first = await reportsOf('first', 0);
  expect(first.map(({ pairs, stoppedEarly }) => [pairs, stoppedEarly])).toEqual([
    [12, false],
    [8, true],
  ]);
});

it('refuses what cannot be told apart or has nothing to visit', async () => {
  await using folder = await temporaryFolder();
  const file = await writePairs(join(folder.path, 'a.jsonl'), WORDS, 'house');
  const refused = (data: unknown, more = {}) =>
    expect(train(config(folder.path, { data: data as Record<string, unknown>, ...more }))).rejects;
  await refused({ train: [file, { path: folder.path, name: 'b' }] }).toThrow(
    `${file}, field "data.train": This file belongs to two sources that differ`,
  );
  await refused({
    train: [file, { path: await writePairs(join(folder.path, 'c.jsonl'), WORDS, 'zoo'), weight: 2 }, file],
  }).toThrow(`${file}, field "data.train": This file belongs to two sources`);
  const rare = join(folder.path, 'rare.jsonl');
  await writePairs(rare, WORDS, 'zoo');
  for (const train of [[{ path: rare, weight: 0.01 }], [file, { path: rare, weight: 0.01 }]]) {
    await refused({ train }).toThrow(
      `${rare}, field "data.train": The weight 0.01 of this source is so small that an epoch visits none of its 12 examples`,
    );
  }
  const park = await writePairs(join(folder.path, 'park/b.jsonl'), WORDS, 'park');
  await refused(
    {
      train: file,
      eval: [
        { path: file, name: 'a' },
        { path: park, name: 'b' },
      ],
      limit: 'first',
      maxEvalPairs: 12,
    },
    { checkpoint: { keepBest: 'eval_b_loss' }, evaluation: { everySteps: 1 } },
  ).toThrow(
    'field "checkpoint.keepBest": No pair of "b" is among the 12 that are evaluated. Raise data.maxEvalPairs.',
  );
});

it('knows a kept metric from that of a source whose name is the beginning of it', async () => {
  await using folder = await temporaryFolder();
  const [drawn, notDrawn] = await Promise.all(
    ['park', 'town'].map(place => writePairs(join(folder.path, `${place}.jsonl`), WORDS, place)),
  );
  const { result, events } = await run(
    config(folder.path, {
      data: {
        train: drawn,
        eval: [
          { path: drawn, name: 'a_b' },
          { path: notDrawn, name: 'a' },
        ],
        limit: 'first',
        maxEvalPairs: 12,
      },
      training: { maxSteps: 1 },
      evaluation: { everySteps: 1 },
      checkpoint: { keepBest: 'eval_a_b_loss' },
    }),
  );
  expect(result.best!.metric).toBe('eval_a_b_loss');
  expect(events.flatMap(event => (event.type === 'warning' ? [event.message] : []))).toContain(
    'No pair of "a" is among the 12 that are evaluated. Raise data.maxEvalPairs.',
  );
});

it('does not delete a run whose folder holds a file of a pattern or a folder of shards', async () => {
  await using folder = await temporaryFolder();
  const settings = (path: string) =>
    config(folder.path, { data: { train: path }, training: { maxSteps: 1 } });
  const outside = await writePairs(join(folder.path, 'outside/a.jsonl'), WORDS, 'house');
  await train(settings(outside));
  const inside = join(folder.path, 'run', 'data', 'deep');
  await writePairs(join(inside, 'b.jsonl'), WORDS, 'park');
  for (const path of [dirname(inside), join(folder.path, '*', 'data', '**', '*.jsonl')]) {
    await expect(train(settings(path), { overwrite: true })).rejects.toThrow(
      /--overwrite deletes the run.* data\.train/,
    );
  }
});
