/** The parts of the evaluation data that have metrics of their own: sources of data.eval with a name. */
import { type Config, KEPT_METRIC } from '../config/schema.js';
import type { DataSource } from '../data/source.js';
import { ConfigError } from '../errors.js';
import type { TrainingPair } from './preference-trainer.js';

/** The name of the source of each pair that has one. @param files of the pairs, in their order */
export function groupsOf(
  pairs: readonly TrainingPair[],
  files: readonly string[],
  sources: readonly DataSource[],
): Map<TrainingPair, string> {
  const names = namesByFile(sources);
  const groups = new Map<TrainingPair, string>();
  for (const [index, pair] of pairs.entries()) {
    const name = names.get(files[index]!);
    if (name !== undefined) groups.set(pair, name);
  }
  return groups;
}

/**
 * Warns of named sources that have no pair in the evaluation.
 *
 * @param files of the pairs that are evaluated
 * @throws ConfigError when checkpoint.keepBest names one
 */
export function emptyGroupWarnings(
  { checkpoint: { keepBest }, data }: Pick<Config, 'checkpoint' | 'data'>,
  files: readonly string[],
  sources: readonly DataSource[],
): string[] {
  const names = namesByFile(sources);
  const kept = KEPT_METRIC.exec(keepBest ?? '')?.[1];
  const present = new Set(files.map(file => names.get(file)));
  return [...new Set(names.values())]
    .filter(name => !present.has(name))
    .map(name => {
      const message = `No pair of "${name}" is among the ${data.maxEvalPairs ?? files.length} that are evaluated.`;
      const hint = 'Raise data.maxEvalPairs.';
      if (name !== kept) return `${message} ${hint}`;
      throw new ConfigError(message, { field: 'checkpoint.keepBest', hint });
    });
}

/** How many of the pairs an accuracy such as `eval_NAME_rewards/accuracies` or `eval_rewards/accuracies` is a mean over. */
export function pairsOfAccuracy(
  metric: string,
  groups: ReadonlyMap<TrainingPair, string>,
  all: number,
): number {
  const counts = new Map<string, number>();
  for (const name of groups.values()) counts.set(name, (counts.get(name) ?? 0) + 1);
  const [, count = all] =
    [...counts].find(([name]) => ACCURACIES.some(of => metric === `eval_${name}_${of}`)) ?? [];
  return count;
}

const ACCURACIES: readonly string[] = ['rewards/accuracies', 'sr/augmented_accuracies'];

const namesByFile = (sources: readonly DataSource[]): Map<string, string> =>
  new Map(
    sources.flatMap(({ files, name }) =>
      name === null ? [] : files.map((file): [string, string] => [file, name]),
    ),
  );
