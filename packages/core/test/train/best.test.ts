/** The best checkpoint, stopping early, and checkpoints by the clock; all of it through kills. */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SOLO } from '@sralign/native';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { type MetricsRecord, readMetrics } from '../../src/metrics/jsonl.js';
import { EvaluationWatch } from '../../src/train/best.js';
import type { TrainEvent } from '../../src/train/events.js';
import { SaveTimer } from '../../src/train/save-timer.js';
import { readTrainerState } from '../../src/train/state.js';
import { train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const harmless = (part: string): string =>
  fileURLToPath(new URL(`../../../../examples/data/hh-rlhf/harmless-base.${part}.jsonl.gz`, import.meta.url));

/** A run that learns 8 pairs by heart at a rate that makes the evaluation loss on others rise soon. */
function config(folder: string, changes: Record<string, Record<string, unknown>> = {}): Config {
  const base: Record<string, Record<string, unknown>> = {
    model: { path: storiesFolder },
    data: {
      format: 'hh',
      train: [harmless('train')],
      eval: [harmless('eval')],
      limit: 'first',
      maxTrainPairs: 8,
      maxEvalPairs: 16,
    },
    tokens: { maxTokens: 80, maxPromptTokens: 50, longPrompt: 'keep-end' },
    augmentation: { prompt: 'Be kind. Query:' },
    optimizer: { learningRate: 4e-3 },
    schedule: { warmupSteps: 0 },
    training: { batchPairs: 4, maxSteps: 10 },
    evaluation: { everySteps: 1, batchPairs: 8 },
    checkpoint: { everySteps: 3, everyMinutes: null, keepLast: 1, keepBest: 'eval_loss' },
    output: { folder },
  };
  for (const [section, values] of Object.entries(changes)) base[section] = { ...base[section], ...values };
  return parseConfig({ method: 'dpo', ...base });
}

/** What must not depend on kills. */
async function outcome(run: string): Promise<unknown> {
  const checkpoints = (await readdir(join(run, 'checkpoints'))).sort();
  const records = await readMetrics(join(run, 'metrics.jsonl'));
  const clocked = /^time$|time\/|memory\/|tokens_per_second|mfu/;
  return {
    final: (await readFile(join(run, 'final', 'model.safetensors'))).toString('base64'),
    checkpoints,
    states: await Promise.all(checkpoints.map(name => readTrainerState(join(run, 'checkpoints', name)))),
    records: records.map(record =>
      Object.fromEntries(Object.entries(record).filter(([name]) => !clocked.test(name))),
    ),
  };
}

const evaluations = async (run: string): Promise<MetricsRecord[]> =>
  (await readMetrics(join(run, 'metrics.jsonl'))).filter(record => record.step > 0 && 'eval_loss' in record);

const at = (folder: string, step: number): string =>
  join(folder, 'checkpoints', `step-${String(step).padStart(6, '0')}`);

describe('EvaluationWatch', () => {
  const watch = (keepBest: 'eval_loss' | 'eval_rewards/accuracies', patience: number | null) =>
    new EvaluationWatch(
      config('run', { checkpoint: { keepBest }, evaluation: { everySteps: 1, patience } }),
      null,
    );

  it.each([
    ['eval_loss', [3, 2, 2, Number.NaN, 2.5, 1], [true, true, false, false, false, true]],
    ['eval_rewards/accuracies', [0.5, 0.5, 0.7, 0.6, Number.NaN, 1], [true, false, true, false, false, true]],
  ] as const)('finds the best by %s; ties and NaN are not better', (metric, values, best) => {
    const seen = watch(metric, null);
    expect(values.map((value, i) => seen.add(i + 1, { [metric]: value }))).toEqual(best);
    expect(seen.best).toEqual({ metric, value: values.at(-1), step: 6 });
    expect(seen.isOver).toBe(false);
  });

  it('is over after so many evaluations that are not better, wherever it was stopped', () => {
    const value = fc.oneof(fc.integer({ min: 0, max: 4 }), fc.constant(Number.NaN));
    fc.assert(
      fc.property(fc.array(value), fc.integer({ min: 1, max: 4 }), fc.nat(), (values, patience, cut) => {
        const whole = watch('eval_loss', patience);
        let resumed = watch('eval_loss', patience);
        for (const [i, eval_loss] of values.entries()) {
          whole.add(i + 1, { eval_loss });
          resumed.add(i + 1, { eval_loss });
          if (i === cut % (values.length + 1)) {
            const state = JSON.parse(JSON.stringify(resumed.state));
            resumed = new EvaluationWatch(config('run', { evaluation: { everySteps: 1, patience } }), state);
          }
        }
        expect(resumed.state).toEqual(whole.state);
        const since = values.length - (whole.best?.step ?? 0);
        expect(whole.isOver).toBe(since >= patience);
      }),
    );
  });

  it('forgets a best by another metric', () => {
    const best = { metric: 'eval_rewards/accuracies', value: 1, step: 2 };
    const other = new EvaluationWatch(config('run'), {
      keepBest: best.metric,
      best,
      evaluationsSinceBest: 3,
    });
    expect(other.state).toEqual({ keepBest: 'eval_loss', best: null, evaluationsSinceBest: 0 });
  });
});

describe('the best checkpoint', () => {
  it('is kept beyond keepLast, becomes final/ when asked, and is the same after kills', async () => {
    await using folder = await temporaryFolder();
    const [whole, cut] = [join(folder.path, 'whole'), join(folder.path, 'cut')];
    const best = { output: { folder: whole, model: 'best' } };
    const result = await train(config(whole, best));
    const losses = (await evaluations(whole)).map(({ eval_loss }) => eval_loss!);
    const bestStep = 1 + losses.indexOf(Math.min(...losses));
    expect(bestStep).toBeLessThan(9); // Else the case shows nothing.
    expect(result).toMatchObject({ steps: 10, finalStep: bestStep, stoppedEarly: false });
    expect(result.best).toEqual({ metric: 'eval_loss', step: bestStep, value: losses[bestStep - 1] });
    expect(result.metrics.eval_loss).toBe(losses[bestStep - 1]);
    expect((await readdir(join(whole, 'checkpoints'))).length).toBe(2);
    const [final, saved] = [join(whole, 'final'), at(whole, bestStep)].map(of =>
      readFile(join(of, 'model.safetensors')),
    );
    expect((await final!).equals(await saved!)).toBe(true);
    expect(await readFile(join(whole, 'final', 'README.md'), 'utf8')).toContain(`${bestStep} steps`);

    // Stopped after every second step.
    for (const stop of [2, 4, 6, 8, 99]) {
      const controller = new AbortController();
      await train(config(cut, { output: { folder: cut, model: 'best' } }), {
        resume: true,
        signal: controller.signal,
        onEvent: event => event.type === 'step' && event.step === stop && controller.abort(),
      });
    }
    expect(await outcome(cut)).toEqual(await outcome(whole));
  });

  it('ends the run early when none has been better for evaluation.patience, and is the same after a kill', async () => {
    await using folder = await temporaryFolder();
    const [whole, cut] = [join(folder.path, 'whole'), join(folder.path, 'cut')];
    const patience = { evaluation: { everySteps: 1, patience: 2 } };
    const events: TrainEvent[] = [];
    const result = await train(config(whole, patience), { onEvent: event => void events.push(event) });
    expect(result).toMatchObject({ stoppedEarly: true, finalStep: result.steps });
    expect(result.steps).toBe(result.best!.step + 2);
    expect(result.steps).toBeLessThan(10);
    expect(events.find(({ type }) => type === 'early-stop')).toMatchObject({ best: result.best });

    // What a kill right after the step behind the best one leaves.
    const controller = new AbortController();
    await train(config(cut, patience), {
      signal: controller.signal,
      onEvent: event =>
        event.type === 'evaluate' && event.step === result.best!.step + 1 && controller.abort(),
    });
    expect(await train(config(cut, patience), { resume: true })).toMatchObject({
      steps: result.steps,
      stoppedEarly: true,
    });
    expect(await outcome(cut)).toEqual(await outcome(whole));
    // Finished, until there is more patience.
    const again: TrainEvent[] = [];
    await train(config(cut, patience), { resume: true, onEvent: event => void again.push(event) });
    expect(again.map(({ type }) => type)).toEqual(['finished', 'end']);
    const more = { evaluation: { everySteps: 1, patience: 3 } };
    expect((await train(config(cut, more), { resume: true })).steps).toBeGreaterThan(result.steps);
  });

  it('is missed where it is gone', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'run');
    const controller = new AbortController();
    const first = await train(config(run), {
      signal: controller.signal,
      onEvent: event => event.type === 'step' && event.step === 9 && controller.abort(),
    });
    const { step } = first.best!;
    expect(step).toBeLessThan(9);
    await rm(at(run, step), { recursive: true });
    await expect(train(config(run), { resume: true })).rejects.toThrow(
      new RegExp(`best checkpoint, which was that of step ${step}, is missing.*keepBest=null`),
    );
    const without = { checkpoint: { keepBest: null } };
    expect(await train(config(run, without), { resume: true })).toMatchObject({ steps: 10, best: null });
  });
});

describe('checkpoints by the clock', () => {
  afterEach(() => vi.restoreAllMocks());

  it('are due everyMinutes after the last one, by the clock of the first rank', () => {
    let nowMs = 5;
    const timer = new SaveTimer(10, SOLO, () => nowMs);
    expect(timer.isDue()).toBe(false);
    nowMs += 10 * 60_000 - 1;
    expect(timer.isDue()).toBe(false);
    nowMs += 1;
    expect(timer.isDue()).toBe(true);
    timer.restart();
    expect(timer.isDue()).toBe(false);

    const said: unknown[] = [];
    const exchange = <T>(own: T): T[] => {
      said.push(own);
      return [true as T, own];
    };
    const second = new SaveTimer(10, { worldSize: 2, exchange }, () => nowMs);
    expect(second.isDue()).toBe(true);
    expect(said).toEqual([false]);
    expect(new SaveTimer(null, { worldSize: 2, exchange }, () => nowMs).isDue()).toBe(false);
  });

  it('are written after the step in which they fall due, by default every 10 minutes, and at the end', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'run');
    const base = config(run, { checkpoint: { everySteps: null, keepBest: null } });
    const settings = parseConfig({ ...base, checkpoint: { everySteps: null, keepLast: 'all' } });
    expect(settings.checkpoint.everyMinutes).toBe(10);
    // Every step takes 4 minutes more than it does.
    const now = performance.now.bind(performance);
    let passedMs = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => now() + passedMs);
    const saved: number[] = [];
    await train(settings, {
      onEvent: event => {
        if (event.type === 'checkpoint') saved.push(event.step);
        if (event.type === 'step') passedMs += 4 * 60_000;
      },
    });
    expect(saved).toEqual([3, 6, 9, 10]);
    expect(await readdir(join(run, 'checkpoints'))).toHaveLength(4);
  });
});
