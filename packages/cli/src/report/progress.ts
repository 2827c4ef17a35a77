/**
 * Training events as lines on stderr: on a terminal one line that is written over, otherwise a line per logged step, and
 * one every half minute of whatever else goes on.
 */
import type { TrainEvent } from '@sralign/core';
import { dataSummary } from './data-summary.js';
import { describeFit } from './memory.js';
import { besideShare, duration, number } from './table.js';
import { type Amount, Work } from './work.js';

export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Milliseconds from any beginning, and a call every second that keeps no process alive until it is stopped. */
export interface Clock {
  now(): number;
  everySecond(tick: () => void): { stop(): void };
}

export interface ProgressOptions {
  /** Stands in front of every line. */
  readonly label?: string;
  /** Steps between lines where the output is no terminal (logging.everySteps). */
  readonly everySteps: number;
  /** By default the time that passes. */
  readonly clock?: Clock;
}

/** Where there is no terminal, nobody waits longer than this for a sign of life. */
const LONGEST_SILENCE_MS = 30_000;
/** A terminal shows no more than this. */
const REDRAW_MS = 100;

const realClock: Clock = {
  now: () => performance.now(),
  everySecond: tick => {
    const timer = setInterval(tick, 1000).unref();
    return { stop: () => clearInterval(timer) };
  },
};

/** Returns the handler of the events of one run. */
export function progress(stream: ProgressStream, options: ProgressOptions): (event: TrainEvent) => void {
  const { clock = realClock } = options;
  const live = stream.isTTY === true;
  const prefix = options.label === undefined ? '' : `${options.label}  `;
  let open = false;
  let writtenMs = clock.now();
  let steps: Work | null = null;
  /** Where the steps begin, until one is done: what comes before is not their time. */
  let beginning: Amount | null = null;
  /** What goes on between the steps. */
  let work: Work | null = null;

  const line = (text: string): void => {
    stream.write(`${open ? '\r\u001b[K' : ''}${prefix}${text}\n`);
    open = false;
    writtenMs = clock.now();
  };
  const rewrite = (text: string): void => {
    if (!live) {
      line(text);
      return;
    }
    stream.write(`\r\u001b[K${(prefix + text).slice(0, (stream.columns ?? 80) - 1)}`);
    open = true;
    writtenMs = clock.now();
  };
  const goesOn = (name: string, unit: string, amount: Amount, subject = ''): void => {
    const now = clock.now();
    if (work?.isSame(name, subject)) work.update(amount, now);
    else work = new Work(name, unit, amount, now, subject);
    if (live && now - writtenMs >= REDRAW_MS) rewrite(work.text(now));
    if (amount.done !== amount.total) return;
    work = null;
    if (open) stream.write('\r\u001b[K');
    open = false;
  };
  const { stop } = clock.everySecond(() => {
    const now = clock.now();
    if (live && work !== null) rewrite(work.text(now));
    else if (!live && now - writtenMs >= LONGEST_SILENCE_MS) {
      const text = (work ?? steps)?.text(now);
      if (text !== undefined) line(text);
    }
  });

  return event => {
    if (beginning !== null && event.type !== 'step') steps = new Work('step', null, beginning, clock.now());
    switch (event.type) {
      case 'start': {
        const unit = event.reports.some(({ unit }) => unit === 'examples') ? 'examples' : 'pairs';
        for (const report of event.reports) line(dataSummary(report));
        line(
          `${number(event.trainPairs)} training ${unit}, ${number(event.evalPairs)} evaluation ${unit}; ` +
            `${number(event.parameters)} parameters, ${event.dtype} on ${event.device}, ${event.threads} threads`,
        );
        if (event.hosts.length > 1)
          line(`${event.hosts.length} ranks on ${hostNames(event.hosts)}, sharding ${event.sharding}`);
        beginning = { done: event.resumedFromStep ?? 0, total: event.totalSteps };
        if (event.resumedFromStep !== null) line(`resumed from step ${event.resumedFromStep}`);
        else if (event.resume) line('no checkpoint to resume from: starting from the beginning');
        break;
      }
      case 'warning':
        line(`warning: ${event.message}`);
        break;
      case 'progress':
        goesOn(event.phase, event.unit, event, event.subject);
        break;
      case 'reference': {
        const name = `reference log-probs${event.view === 'plain' ? '' : ' with the quality prompt'}`;
        const { donePairs: done, totalPairs: total } = event;
        if (event.cached) line(`${name} of ${number(total)} pairs: from the cache`);
        else goesOn(name, 'pairs', { done, total });
        if (!live && !event.cached && done === total)
          line(`${name}  ${number(total)}/${number(total)} pairs`);
        break;
      }
      case 'step': {
        const { step: done, totalSteps: total } = event;
        const now = clock.now();
        beginning = null;
        if (steps === null) steps = new Work('step', null, { done, total }, now);
        else steps.update({ done, total }, now);
        work = null;
        if (live || done % options.everySteps === 0 || done === total)
          rewrite(steps.text(now, stepMetrics(event.metrics)));
        break;
      }
      case 'evaluate':
        line(`evaluation at step ${event.step}  ${evaluationMetrics(event, 'eval_')}`);
        for (const name of groupsOf(event.metrics))
          line(`  ${name}  ${evaluationMetrics(event, `eval_${name}_`)}`);
        break;
      case 'memory':
        for (const text of describeFit(event.fit).split('\n')) line(text);
        break;
      case 'notice':
        line(`note: ${event.message}`);
        break;
      case 'checkpoint':
        line(`checkpoint ${event.folder}${event.best ? ' (the best so far)' : ''}`);
        break;
      case 'early-stop':
        line(`stopped at step ${event.step}: no evaluation since ${bestEvaluation(event.best)} was better`);
        break;
      case 'finished':
        line(`nothing to do: this run was finished at step ${event.step}`);
        break;
      case 'trace':
        line(`trace ${event.file}${event.hidden === null ? '' : overlap(event, event.hidden)}`);
        break;
      case 'end':
        stop();
        if (open) stream.write('\n');
        open = false;
        break;
    }
  };
}

/** "step 20 (eval_loss 0.6412)". */
export const bestEvaluation = (best: { step: number; metric: string; value: number } | null): string =>
  best === null ? 'the start' : `step ${best.step} (${best.metric} ${number(best.value)})`;

function overlap(
  { waitingMs, communicationMs }: Record<'waitingMs' | 'communicationMs', number>,
  hidden: number,
): string {
  const [waited, communicated] = [waitingMs, communicationMs].map(ms => duration(ms / 1000));
  return `: ranks waited ${waited} for ${communicated} of communication (${(100 * hidden).toFixed(0)} % hidden)`;
}

/** "node-1, node-2"; more than four are counted. */
function hostNames(hosts: readonly string[]): string {
  const names = [...new Set(hosts)];
  return names.length > 4 ? `${names.length} hosts` : names.join(', ');
}

type Metrics = Readonly<Record<string, number>>;

const show = (label: string, value: number | undefined, digits: number): string[] =>
  value === undefined ? [] : [`${label} ${value.toFixed(digits)}`];

function stepMetrics(metrics: Metrics): string {
  const rate = metrics.learning_rate;
  const speed = metrics.tokens_per_second;
  return [
    ...show('loss', metrics.loss, 4),
    ...show('margin', metrics.margin, 3),
    ...show('accuracy', metrics['rewards/accuracies'], 3),
    ...(rate === undefined ? [] : [`lr ${rate.toExponential(1)}`]),
    ...(speed === undefined ? [] : [`${number(Math.round(speed))} tok/s`]),
  ].join('  ');
}

/** The named sources of data.eval, which have a loss of their own. */
const groupsOf = (metrics: Metrics): string[] =>
  Object.keys(metrics).flatMap(metric => /^eval_(.+)_loss$/.exec(metric)?.[1] ?? []);

/** @param prefix of the names of the metrics: of all pairs, or of a named source */
function evaluationMetrics(
  { metrics, intervals }: Extract<TrainEvent, { type: 'evaluate' }>,
  prefix: string,
): string {
  const accuracy = (label: string, name: string): string[] =>
    show(label, metrics[name], 3).map(text => text + besideShare(intervals[name]));
  return [
    ...show('loss', metrics[`${prefix}loss`], 4),
    ...show('margin', metrics[`${prefix}margin`], 3),
    ...accuracy('accuracy', `${prefix}rewards/accuracies`),
    ...accuracy('augmented accuracy', `${prefix}sr/augmented_accuracies`),
  ].join('  ');
}
