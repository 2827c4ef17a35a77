import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, vi } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { readMetrics } from '../../src/metrics/jsonl.js';
import type { TrainEvent } from '../../src/train/events.js';
import { train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const harmless = fileURLToPath(
  new URL('../../../../examples/data/hh-rlhf/harmless-base.train.jsonl.gz', import.meta.url),
);

/** A short Sr-DPO run of the story model on real pairs, in a temporary folder. */
function config(folder: string, changes: Record<string, Record<string, unknown>> = {}): Config {
  const base: Record<string, Record<string, unknown>> = {
    model: { path: storiesFolder },
    data: {
      format: 'hh',
      train: [harmless],
      eval: [harmless],
      limit: 'first',
      maxTrainPairs: 24,
      maxEvalPairs: 4,
    },
    tokens: { maxTokens: 120, maxPromptTokens: 80, longPrompt: 'keep-end' },
    augmentation: { prompt: 'Be kind. Query:', maxTokens: 40 },
    optimizer: { learningRate: 1e-3 },
    schedule: { warmupSteps: 0, name: 'linear' },
    training: { batchPairs: 4, microbatchPairs: 2, epochs: 2, seed: 5 },
    evaluation: { everySteps: 5, batchPairs: 4 },
    checkpoint: { everySteps: 3, keepLast: 2 },
    output: { folder },
  };
  for (const [section, values] of Object.entries(changes)) base[section] = { ...base[section], ...values };
  return parseConfig({ method: 'sr-dpo', ...base });
}

/** Metrics that do not depend on the clock. */
async function curve(folder: string): Promise<unknown[]> {
  const records = await readMetrics(join(folder, 'metrics.jsonl'));
  return records.map(record =>
    Object.fromEntries(
      Object.entries(record).filter(([name]) => !/^time$|time\/|memory\/|tokens_per_second|mfu/.test(name)),
    ),
  );
}

/** A signal that is aborted when it is looked at for the n-th time. */
function abortAtCheck(checks: number): AbortSignal {
  const controller = new AbortController();
  const { signal } = controller;
  const check = signal.throwIfAborted.bind(signal);
  let left = checks;
  signal.throwIfAborted = () => {
    if (--left === 0) controller.abort();
    check();
  };
  return signal;
}

const finalWeights = (folder: string): Promise<Buffer> =>
  readFile(join(folder, 'final', 'model.safetensors'));

describe('train', () => {
  it('leaves a complete run folder and reports every stage', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'run');
    const events: TrainEvent[] = [];
    const result = await train(config(run), { onEvent: event => void events.push(event) });
    expect(result.steps).toBe(12);
    expect((await readdir(run)).sort()).toEqual([
      '.sralign',
      'checkpoints',
      'clock.json',
      'config.yaml',
      expect.stringMatching(/^events\.out\.tfevents\./), // here, for TensorBoard calls a run by the folder of its events
      'final',
      'metrics.jsonl',
      'reference-cache',
      'result.json',
    ]);
    expect(await readdir(join(run, 'final'))).toEqual(
      expect.arrayContaining(['README.md', 'config.json', 'model.safetensors', 'tokenizer.json']),
    );
    expect(await readdir(join(run, 'checkpoints'))).toHaveLength(2);
    const types = events.map(event => event.type).filter(type => type !== 'progress');
    expect(types[0]).toBe('start');
    const start = events.find(event => event.type === 'start')!;
    expect(start.reports).toMatchObject([
      { file: harmless, purpose: 'training', stoppedEarly: true, used: 24, pairs: start.trainPairs },
      { file: harmless, purpose: 'evaluation', stoppedEarly: true, used: 4, pairs: 4 },
    ]);
    expect(start.reports[0]!.pairsCut).toBeGreaterThan(2);
    expect(events.find(event => event.type === 'warning')?.message).toMatch(
      /jsonl\.gz: \d+ % of the 24 training pairs are cut \(\d+ prompts, \d+ chosen, \d+ rejected\)/,
    );
    expect(types.at(-1)).toBe('end');
    expect(types.filter(type => type === 'step')).toHaveLength(12);
    expect(types.filter(type => type === 'evaluate')).toHaveLength(4);
    const [atStart] = await readMetrics(join(run, 'metrics.jsonl'));
    expect(atStart!.eval_loss).toBeCloseTo(Math.log(2), 4);
  });

  it('asks the reference only about the pairs that are left to use, in both views', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'run');
    const asked: Record<string, number[]> = { plain: [], augmented: [] };
    const settings = { training: { batchPairs: 4, microbatchPairs: 2, maxSteps: 2, seed: 5 } };
    const listen = (event: TrainEvent): void => {
      if (event.type === 'reference' && event.donePairs === event.totalPairs)
        asked[event.view]!.push(event.totalPairs);
    };
    await train(config(run, settings), { onEvent: listen });
    // 2 steps of 4 pairs of the 24, then 4 for the evaluation.
    expect(asked).toEqual({ plain: [8, 4], augmented: [8, 4] });
    asked.plain = [];
    await train(config(run, settings), { resume: true, onEvent: listen });
    expect(asked.plain).toEqual([]);
  });

  it('reports how far all that may last has come', async () => {
    await using folder = await temporaryFolder();
    const seen = new Map<string, Extract<TrainEvent, { type: 'progress' }>[]>();
    await train(config(join(folder.path, 'run')), {
      onEvent: event => {
        if (event.type === 'progress') seen.set(event.phase, [...(seen.get(event.phase) ?? []), event]);
      },
    });
    expect([...seen.keys()].sort()).toEqual([
      'encoding',
      'evaluation',
      'hashing',
      'loading',
      'reading',
      'saving',
    ]);
    for (const [phase, events] of seen) {
      const { done, total } = events.at(-1)!;
      // Reading stops at data.maxTrainPairs.
      if (phase === 'reading') expect(done).toBeGreaterThan(0);
      else expect(done).toBe(total);
    }
    const evaluations = seen.get('evaluation')!.map(({ done, total, unit }) => [done, total, unit]);
    expect(evaluations.slice(0, 2)).toEqual([
      [0, 4, 'pairs'],
      [4, 4, 'pairs'],
    ]);
  });

  it.each([
    ['deleted', (model: string) => rmSync(model, { recursive: true })],
    [
      'replaced by others',
      (model: string) => {
        for (const name of readdirSync(model)) writeFileSync(join(model, name), 'not what was read');
      },
    ],
  ])(
    'saves what it read at the start, though the files of the model are %s during the run',
    async (_, change) => {
      await using folder = await temporaryFolder();
      const [model, run] = [join(folder.path, 'model'), join(folder.path, 'run')];
      await cp(storiesFolder, model, { recursive: true });
      const settings = { model: { path: model }, training: { maxSteps: 2 }, checkpoint: { everySteps: 1 } };
      await train(config(run, settings), {
        onEvent: event => event.type === 'step' && event.step === 1 && change(model),
      });
      const names = ['LICENSE', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json'];
      for (const place of ['final', 'checkpoints/step-000001', 'checkpoints/step-000002']) {
        for (const name of names) {
          expect(await readFile(join(run, place, name), 'utf8')).toBe(
            await readFile(join(storiesFolder, name), 'utf8'),
          );
        }
        expect(JSON.parse(await readFile(join(run, place, 'config.json'), 'utf8'))).toMatchObject({
          model_type: 'llama',
        });
      }
    },
  );

  it('continues bit for bit after an interruption, with checkpointed activations from there', async () => {
    await using folder = await temporaryFolder();
    const [whole, cut] = [join(folder.path, 'whole'), join(folder.path, 'cut')];
    await train(config(whole));
    const controller = new AbortController();
    const first = await train(config(cut), {
      signal: controller.signal,
      onEvent: event => event.type === 'step' && event.step === 7 && controller.abort(),
    });
    expect(first).toMatchObject({ interrupted: true, steps: 7, finalFolder: null });
    const checkpointing = { training: { activationCheckpointing: true } };
    const second = await train(config(cut, checkpointing), { resume: true });
    expect(second).toMatchObject({ interrupted: false, steps: 12 });
    expect((await finalWeights(cut)).equals(await finalWeights(whole))).toBe(true);
    expect(await curve(cut)).toEqual(await curve(whole));
  });

  it('can be interrupted anywhere: in the reference pass, in an evaluation, between microbatches', async () => {
    await using folder = await temporaryFolder();
    const [whole, cut] = [join(folder.path, 'whole'), join(folder.path, 'cut')];
    const settings = {
      training: { maxSteps: 3, batchPairs: 4, microbatchPairs: 1 },
      data: {
        format: 'hh',
        train: [harmless],
        eval: [harmless],
        limit: 'first',
        maxTrainPairs: 6,
        maxEvalPairs: 4,
      },
    };
    await train(config(whole, settings));
    const steps: number[] = [];
    for (const checks of [3, 11, 1, 8, 2, 4, 3, Number.POSITIVE_INFINITY]) {
      const result = await train(config(cut, settings), {
        resume: steps.length > 0,
        signal: abortAtCheck(checks),
      });
      steps.push(result.interrupted ? result.steps : -1);
    }
    // In the reference pass, in the first evaluation, then inside steps 1, 2 and 3.
    expect(new Set(steps)).toEqual(new Set([0, 1, 2, -1]));
    expect(await curve(cut)).toEqual(await curve(whole));
    expect((await finalWeights(cut)).equals(await finalWeights(whole))).toBe(true);
  });

  it('continues bit for bit from an older checkpoint when the newest work was lost', async () => {
    await using folder = await temporaryFolder();
    const [whole, cut] = [join(folder.path, 'whole'), join(folder.path, 'cut')];
    const controller = new AbortController();
    // The state a kill at step 8 leaves: a copy taken after the checkpoint of step 6, with later metrics.
    await train(config(whole), {
      signal: controller.signal,
      onEvent: event => event.type === 'step' && event.step === 8 && controller.abort(),
    });
    await cp(whole, cut, {
      recursive: true,
      filter: source => !source.includes('step-000008'),
    });
    await train(config(whole), { resume: true });
    await train(config(cut), { resume: true });
    expect((await finalWeights(cut)).equals(await finalWeights(whole))).toBe(true);
    expect(await curve(cut)).toEqual(await curve(whole));
  });

  it('refuses to resume under settings that change the steps', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'run');
    await train(config(run, { training: { maxSteps: 2, batchPairs: 4 } }));
    await expect(train(config(run, { loss: { beta: 0.2 } }), { resume: true })).rejects.toThrow(
      /config\.yaml, field "loss\.beta".*0\.1.*0\.2/s,
    );
    const changed = (changes: Record<string, Record<string, unknown>>): Promise<unknown> =>
      train(config(run, { training: { maxSteps: 2, batchPairs: 4 }, ...changes }), { resume: true });
    // Every later step would have another loss, and with a falling learning rate every step another rate.
    await expect(changed({ reference: { model: storiesFolder } })).rejects.toThrow(
      /field "reference\.model"/,
    );
    await expect(changed({ training: { maxSteps: 3, batchPairs: 4 } })).rejects.toThrow(
      /field "training\.maxSteps"/,
    );
    await writeFile(join(run, 'config.yaml'), 'method: [');
    await expect(changed({})).rejects.toThrow(/config\.yaml: The configuration of the run is damaged/);
    await expect(train(config(run))).rejects.toThrow(/--resume/);
  });

  it('stops at a loss that is not finite, names step, pair and last checkpoint, and can be resumed', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'run');
    const wild = config(run, { optimizer: { learningRate: 1e30 }, checkpoint: { everySteps: 1 } });
    await expect(train(wild)).rejects.toThrow(/Step \d+: .*(NaN|Infinity).*checkpoint/s);
  });

  it('trains from random weights and with a separate reference model', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'run');
    const result = await train(
      config(run, {
        model: { path: storiesFolder, init: 'random' },
        reference: { model: storiesFolder },
        training: { maxSteps: 2, batchPairs: 4 },
      }),
    );
    expect(result.metrics.eval_margin).not.toBe(0);
  });

  it('refuses to be one of several processes', async () => {
    await using folder = await temporaryFolder();
    vi.stubEnv('WORLD_SIZE', '2');
    await expect(train(config(join(folder.path, 'run')))).rejects.toThrow(/WORLD_SIZE is 2/);
    vi.unstubAllEnvs();
    expect(await readdir(folder.path)).toEqual([]);
  });

  it('writes nothing when the data cannot be read', async () => {
    await using folder = await temporaryFolder();
    const data = join(folder.path, 'bad.jsonl');
    await writeFile(data, '{"chosen": "a"}\n');
    await expect(
      train(config(join(folder.path, 'run'), { data: { format: 'hh', train: [data] } })),
    ).rejects.toThrow(/bad\.jsonl:1/);
    expect(await readdir(folder.path)).toEqual(['bad.jsonl']);
  });
});
