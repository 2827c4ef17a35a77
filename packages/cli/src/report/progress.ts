/**
 * Training events as lines on stderr: on a terminal one line that is written over, otherwise a line per logged step.
 */
import type { TrainEvent } from '@sralign/core';
import { dataSummary } from './data-summary.js';
import { describeFit } from './memory.js';
import { duration, number } from './table.js';

export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface ProgressOptions {
  /** Stands in front of every line. */
  readonly label?: string;
  /** Steps between lines where the output is no terminal (logging.everySteps). */
  readonly everySteps: number;
}

/** Returns the handler of the events of one run. */
export function progress(stream: ProgressStream, options: ProgressOptions): (event: TrainEvent) => void {
  const live = stream.isTTY === true;
  const prefix = options.label === undefined ? '' : `${options.label}  `;
  let open = false;
  let firstStep: { step: number; at: number } | null = null;

  const line = (text: string): void => {
    stream.write(`${open ? '\r\u001b[K' : ''}${prefix}${text}\n`);
    open = false;
  };
  const rewrite = (text: string): void => {
    if (!live) {
      line(text);
      return;
    }
    stream.write(`\r\u001b[K${(prefix + text).slice(0, (stream.columns ?? 80) - 1)}`);
    open = true;
  };
  const remaining = (step: number, totalSteps: number): string => {
    const now = performance.now();
    if (firstStep === null) {
      firstStep = { step, at: now };
      return '';
    }
    const secondsPerStep = (now - firstStep.at) / 1000 / (step - firstStep.step);
    return `  ETA ${duration(secondsPerStep * (totalSteps - step))}`;
  };

  return event => {
    switch (event.type) {
      case 'start':
        for (const report of event.reports) line(dataSummary(report));
        line(
          `${number(event.trainPairs)} training pairs, ${number(event.evalPairs)} evaluation pairs; ` +
            `${number(event.parameters)} parameters, ${event.dtype} on ${event.device}, ${event.threads} threads`,
        );
        if (event.hosts.length > 1)
          line(`${event.hosts.length} ranks on ${hostNames(event.hosts)}, sharding ${event.sharding}`);
        if (event.resumedFromStep !== null) line(`resumed from step ${event.resumedFromStep}`);
        else if (event.resume) line('no checkpoint to resume from: starting from the beginning');
        break;
      case 'warning':
        line(`warning: ${event.message}`);
        break;
      case 'reference': {
        const what = `reference log-probs${event.view === 'plain' ? '' : ' with the quality prompt'}`;
        if (event.cached) line(`${what} of ${number(event.totalPairs)} pairs: from the cache`);
        else if (live || event.donePairs === event.totalPairs)
          rewrite(`${what}  ${number(event.donePairs)}/${number(event.totalPairs)} pairs`);
        break;
      }
      case 'step': {
        const logged = event.step % options.everySteps === 0 || event.step === event.totalSteps;
        const eta = remaining(event.step, event.totalSteps);
        if (live || logged)
          rewrite(`step ${event.step}/${event.totalSteps}  ${stepMetrics(event.metrics)}${eta}`);
        break;
      }
      case 'evaluate':
        line(`evaluation at step ${event.step}  ${evaluationMetrics(event.metrics)}`);
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

function evaluationMetrics(metrics: Metrics): string {
  return [
    ...show('loss', metrics.eval_loss, 4),
    ...show('margin', metrics.eval_margin, 3),
    ...show('accuracy', metrics['eval_rewards/accuracies'], 3),
    ...show('augmented accuracy', metrics['eval_sr/augmented_accuracies'], 3),
  ].join('  ');
}
