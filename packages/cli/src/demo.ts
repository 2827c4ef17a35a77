/**
 * `npm run demo`: SFT, then DPO and Sr-DPO from the same model, seed and order of pairs, and what differs.
 *
 * An example of the API: the settings are examples/demo/*.yaml, and the runs are those of `sralign train`.
 */
import { mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { loadConfig, type ShareInterval, type TrainEvent } from '@sralign/core';
import { keepIgnoringHangup } from './hangup.js';
import { interruptible } from './interrupt.js';
import { outliveReaders } from './lost-readers.js';
import { plot } from './report/plot.js';
import { progress } from './report/progress.js';
import { duration, number, table } from './report/table.js';
import { trainInWorker } from './worker/train-in-worker.js';

/** One finished run. */
interface Run {
  name: string;
  folder: string;
  /** Reading, the reference and evaluation included. */
  seconds: number;
  /** Of the training steps. */
  tokensPerSecond: number;
  evaluations: Extract<TrainEvent, { type: 'evaluate' }>[];
}

/** Trains as the YAML file says, in `folder`, from `model` when given. Null when it was interrupted. */
async function run(
  name: string,
  file: string,
  folder: string,
  signal: AbortSignal,
  model?: string,
): Promise<Run | null> {
  const overrides = [`output.folder=${folder}`, ...(model === undefined ? [] : [`model.path=${model}`])];
  const config = await loadConfig(file, overrides);
  const evaluations: Run['evaluations'] = [];
  const speeds: number[] = [];
  const show = progress(process.stderr, { label: name, everySteps: 10 });
  const onEvent = (event: TrainEvent): void => {
    show(event);
    if (event.type === 'evaluate') evaluations.push(event);
    if (event.type === 'step') speeds.push(event.metrics.tokens_per_second ?? 0);
  };
  const { interrupted, seconds } = await trainInWorker(config, { signal, onEvent });
  if (interrupted) return null;
  const tokensPerSecond = speeds.reduce((sum, speed) => sum + speed, 0) / speeds.length;
  return { name, folder, seconds, tokensPerSecond, evaluations };
}

const last = (of: Run): Record<string, number> => of.evaluations.at(-1)?.metrics ?? {};

const decimal = (value: number | undefined): string => value?.toFixed(3) ?? '-';

const span = (interval: ShareInterval | undefined): string =>
  interval === undefined ? '-' : `${decimal(interval.low)}-${decimal(interval.high)}`;

function comparison(runs: readonly Run[]): string {
  return table(
    ['method', 'loss', 'margin', 'accuracy', '95 % interval', 'augmented accuracy', 'time', 'tokens/s'],
    runs.map(of => [
      of.name,
      decimal(last(of).eval_loss),
      decimal(last(of).eval_margin),
      decimal(last(of)['eval_rewards/accuracies']),
      span(of.evaluations.at(-1)?.intervals['eval_rewards/accuracies']),
      decimal(last(of)['eval_sr/augmented_accuracies']),
      duration(of.seconds),
      number(Math.round(of.tokensPerSecond)),
    ]),
  );
}

/** One panel per run. At step 0 every margin is 0, which says nothing of accuracy. */
function curves(title: string, metric: string, firstStep: number, runs: readonly Run[]): string {
  const series = runs.map(of => ({
    name: of.name,
    points: of.evaluations
      .filter(({ step }) => step >= firstStep)
      .map(({ step, metrics }) => ({ step, value: metrics[metric] ?? Number.NaN })),
  }));
  return plot(title, series);
}

/** A folder of its own for every demo: runs/demo/2026-01-31T12-00-00. */
function freshFolder(): string {
  const folder = join('runs', 'demo', new Date().toISOString().slice(0, 19).replaceAll(':', '-'));
  mkdirSync(folder, { recursive: true });
  return folder;
}

async function demo(signal: AbortSignal): Promise<void> {
  const folder = freshFolder();
  console.error(
    "Training a 260,032-parameter model of children's stories on real preference pairs (HH-RLHF, harmless-base).\n" +
      'The texts can offend; the demo prints none of them.\n',
  );
  const sft = await run('SFT', 'examples/demo/sft.yaml', join(folder, 'sft'), signal);
  const model = sft && join(sft.folder, 'final');
  const dpo = model && (await run('DPO', 'examples/demo/dpo.yaml', join(folder, 'dpo'), signal, model));
  const srDpo =
    model && (await run('Sr-DPO', 'examples/demo/sr-dpo.yaml', join(folder, 'sr-dpo'), signal, model));
  if (!sft || !dpo || !srDpo) {
    process.exitCode = 130;
    return;
  }
  const aligned = [dpo, srDpo];
  console.log(
    [
      '',
      'On pairs that training has not seen:',
      comparison([sft, ...aligned]),
      curves('margin by step', 'eval_margin', 0, aligned),
      curves('accuracy by step', 'eval_rewards/accuracies', 1, aligned),
      WHAT_IT_SHOWS,
      `Runs: ${[sft, ...aligned].map(of => relative('.', of.folder)).join('  ')}`,
      `Try:  npx sralign generate ${join(srDpo.folder, 'final')} --prompt "Once upon a time"`,
    ].join('\n\n'),
  );
}

const WHAT_IT_SHOWS = `What this shows: the whole path on real weights and real pairs. DPO and Sr-DPO start from the same model and see the
same pairs in the same order. Accuracy with the quality prompt p stays close to accuracy without it, as the method
supposes, and Sr-DPO costs its forward passes with p on top of DPO.

What it cannot show: which method gives the better model. 260 thousand parameters and 512 word pieces that have read
only children's stories do not understand p: the margin with p simply follows the plain one, so lambda * Delta lets the
loss saturate later and Sr-DPO's margin comes out a little above DPO's. The paper's models, ten thousand times larger
and trained for a thousand steps, end at lower margins with it. On so few pairs, accuracies within 0.05 are equal.`;

keepIgnoringHangup();
outliveReaders(() => true);
await interruptible(demo);
