/** Signs that a run will learn nothing, or not what its user thinks. It goes on all the same: these are warnings. */
import { createHash } from 'node:crypto';
import { isRefined, type Method } from '../config/method.js';
import type { Config } from '../config/schema.js';
import { unusedSettings } from '../config/unused.js';
import { percent } from '../data/report.js';
import type { RowCounts } from '../data/row-counts.js';
import type { DataReport } from '../data/rows.js';
import { scheduleFactor } from '../optim/schedule.js';
import type { EncodedExample } from '../tokens/encode.js';
import { isPair } from '../tokens/examples.js';

/** Settings without effect, and a warm-up that the run does not live to see the end of. */
export function configWarnings(config: Config, totalSteps: number): string[] {
  const { method, optimizer, schedule } = config;
  const warnings = unusedSettings(config).map(
    ({ path, users }) =>
      `${path} is set, but this run does not use it (method: ${method}, optimizer: ${optimizer.name}): it is for ${users}.`,
  );
  if (schedule.warmupSteps > totalSteps) {
    const reached = scheduleFactor(schedule, totalSteps - 1, totalSteps);
    warnings.push(
      `The warm-up is longer than the run: ${schedule.warmupSteps} steps of ${totalSteps}. The learning rate reaches no more ` +
        `than ${percent(reached, 1)} of optimizer.learningRate. Lower schedule.warmupSteps.`,
    );
  }
  return warnings;
}

/** More than this share of the answers begin with the prompt: not a habit of some, but how the file was written. */
const REPEATED_SHARE = 0.1;

/** Answers that are empty, or begin with the prompt, in each file. */
export function rowWarnings(
  counts: readonly RowCounts[],
  purpose: DataReport['purpose'],
  method: Method,
): string[] {
  const fields = method === 'sft' ? (['Chosen'] as const) : (['Chosen', 'Rejected'] as const);
  return counts.flatMap(counted => {
    const { file, rows } = counted;
    const countsOf = (what: 'empty' | 'repeated') => fields.map(field => counted[`${what}${field}`]);
    const describe = (what: 'empty' | 'repeated'): string =>
      countsOf(what)
        .map((count, index) => {
          if (count === 0) return '';
          return method === 'sft' ? `${count}` : `${count} ${fields[index]!.toLowerCase()}`;
        })
        .filter(text => text !== '')
        .join(', ');
    const warnings: string[] = [];
    if (countsOf('empty').some(count => count > 0)) {
      warnings.push(
        `${file}: of ${rows} ${purpose} records, answers without any text: ${describe('empty')}. ` +
          'The model learns of them to say nothing, or not to.',
      );
    }
    if (countsOf('repeated').some(count => count > REPEATED_SHARE * rows)) {
      warnings.push(
        `${file}: of ${rows} ${purpose} records, answers that begin by repeating the prompt: ${describe('repeated')}. ` +
          'The prompt stands in front of them anyway; write the answers without it.',
      );
    }
    return warnings;
  });
}

/** A few equal pairs come about by chance; beyond this share of a file they were put there. */
const SHARED_SHARE = 0.01;

/** Evaluation files whose pairs, as the model sees them, are training pairs too: the same file, a copy, or a part. */
export function sharedPairsWarnings(
  train: readonly EncodedExample[],
  evaluation: readonly EncodedExample[],
): string[] {
  if (evaluation.length === 0) return [];
  // There may be hundreds of thousands of training pairs: only those that look like one of the others are compared.
  const looks = new Set(evaluation.map(lookOf));
  const sources = new Map<string, string>();
  for (const pair of train) if (looks.has(lookOf(pair))) sources.set(digestOf(pair), pair.file);
  return [...new Set(evaluation.map(({ file }) => file))].flatMap(file => {
    const pairs = evaluation.filter(pair => pair.file === file);
    const origins = pairs.map(pair => sources.get(digestOf(pair))).filter(origin => origin !== undefined);
    if (origins.length <= SHARED_SHARE * pairs.length) return [];
    return [
      `${file}: ${origins.length} of the ${pairs.length} evaluation pairs are training pairs as well ` +
        `(of ${[...new Set(origins)].join(', ')}): the evaluation says how well they were learnt by heart.`,
    ];
  });
}

/** A number that equal examples share, and few others. */
function lookOf(example: EncodedExample): number {
  const parts = isPair(example) ? [example.prompt, example.chosen, example.rejected] : [example.tokens];
  return parts.reduce((look, ids) => (31 * look + 7 * ids.length + (ids.at(-1) ?? 0)) % 2 ** 40, 0);
}

/** Of what a method reads of an example. */
function digestOf(example: EncodedExample): string {
  const hash = createHash('sha256');
  const parts = isPair(example)
    ? [example.prompt, example.chosen, example.rejected]
    : [example.tokens, example.trained];
  for (const part of parts) hash.update(Int32Array.of(part.length)).update(part);
  return hash.digest('base64');
}

/** Steps after the warm-up that decide: at least, and at most. */
const WATCHED_STEPS = { least: 10, most: 50 };
/** Of the loss of an untrained policy: what the loss of no watched step departs from it by. */
const LOSS_SHARE = 0.01;
/** |beta m| of no watched step is beyond: where it is, the policy moves although the loss does not (lambda D follows beta m). */
const SMALL_MARGIN = 0.02;

/**
 * Looks for a preference loss that stays where it starts. While the policy is its reference, m = 0 and D = 0: the loss of
 * DPO and Sr-DPO is ln 2, whatever the label smoothing, and that of IPO and Sr-IPO 1 / (4 beta^2).
 *
 * The steps that decide are the first after the warm-up: 50, or all where there are fewer, but no fewer than 10. The run is
 * stuck when in every one of them the loss is within 1 % of that and the mean |beta m| at most 0.02. Batches of a policy that
 * moves differ by more than that, even where it learns nothing that holds for other pairs.
 */
export class LossWatch {
  private readonly start: number;
  private readonly first: number;
  private readonly last: number;
  private isStuck: boolean;

  /** @param step steps done before */
  constructor(
    private readonly config: Config,
    step: number,
    totalSteps: number,
  ) {
    const { method, loss, schedule } = config;
    this.start = method.endsWith('dpo') ? Math.LN2 : 1 / (4 * loss.beta ** 2);
    this.first = Math.max(step, schedule.warmupSteps) + 1;
    this.last = Math.min(totalSteps, this.first + WATCHED_STEPS.most - 1);
    this.isStuck = method !== 'sft' && this.last - this.first + 1 >= WATCHED_STEPS.least;
  }

  /** @returns the warning, once, after the last step that decides; else null */
  add(step: number, { loss, margin }: Readonly<Record<string, number>>): string | null {
    if (!this.isStuck || step < this.first || step > this.last) return null;
    const { beta } = this.config.loss;
    this.isStuck =
      Math.abs(loss! - this.start) <= LOSS_SHARE * this.start && Math.abs(beta * margin!) <= SMALL_MARGIN;
    if (!this.isStuck || step < this.last) return null;
    const { method } = this.config;
    const value = method.endsWith('dpo') ? 'ln 2' : '1 / (4 beta^2)';
    const settings = `optimizer.learningRate${isRefined(method) ? ', loss.lambda' : ''} and the data`;
    return (
      `The loss has stayed at ${value} = ${Number(this.start.toPrecision(4))}, that of a policy that has learnt nothing, in the ` +
      `${this.last - this.first + 1} steps up to step ${step}. Look at ${settings}.`
    );
  }
}
