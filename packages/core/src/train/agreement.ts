/**
 * Whether all ranks are about to do the same: program, configuration, data, model. A difference would otherwise show as
 * wrong numbers, or as ranks that wait for each other for ever.
 */
import { createHash } from 'node:crypto';
import type { Communicator } from '@sralign/native';
import type { Config } from '../config/schema.js';
import { ConfigError } from '../errors.js';
import { modelKey } from '../reference/key.js';
import type { EncodedDataset } from '../tokens/encode.js';
import { VERSION } from '../version.js';
import type { Sources } from './prepare.js';

/** What may differ: how much of its machine a rank uses. */
const OWN_AFFAIR: readonly string[] = ['training.threads'];

/** @throws ConfigError naming the key and the ranks, on all ranks */
export function agreeOnConfig(config: Config, communicator: Communicator): void {
  if (communicator.worldSize === 1) return;
  const facts: Record<string, unknown> = { 'the version of sralign': VERSION };
  for (const [section, values] of Object.entries(config)) {
    const keys = typeof values === 'object' ? Object.entries(values) : [['', values] as const];
    for (const [key, value] of keys) {
      const path = key === '' ? section : `${section}.${key}`;
      if (!OWN_AFFAIR.includes(path)) facts[path] = value;
    }
  }
  agree(facts, communicator);
}

/** The same for what was read: every token of every pair, and the weights of the model. */
export async function agreeOnSources(
  config: Config,
  { modelFolder, train, evaluation }: Sources,
  communicator: Communicator,
): Promise<void> {
  if (communicator.worldSize === 1) return;
  const seed = config.model.init === 'random' ? config.training.seed : undefined;
  const facts = {
    'the training data (data.train)': digest(train),
    'the evaluation data (data.eval)': evaluation && digest(evaluation),
    [`the model (${config.model.path})`]: await modelKey(modelFolder, config.training.dtype, seed),
  };
  agree(facts, communicator);
}

function digest({ pairs, sharedAugmentation }: EncodedDataset): string {
  const hash = createHash('sha256').update(sharedAugmentation);
  for (const { prompt, augmentedPrompt, chosen, rejected } of pairs) {
    for (const ids of [prompt, augmentedPrompt, chosen, rejected]) {
      hash.update(Int32Array.of(ids.length)).update(ids);
    }
  }
  return `${pairs.length} pairs, sha256 ${hash.digest('hex').slice(0, 16)}`;
}

function agree(facts: Record<string, unknown>, communicator: Communicator): void {
  const all = communicator.exchange(facts);
  for (const [name, expected] of Object.entries(all[0]!)) {
    const other = all.findIndex(theirs => JSON.stringify(theirs[name]) !== JSON.stringify(expected));
    if (other < 0) continue;
    const show = (rank: number): string =>
      `${JSON.stringify(all[rank]![name])} on rank ${rank} (${communicator.hosts[rank]})`;
    throw new ConfigError(`The ranks disagree about ${name}: it is ${show(0)}, but ${show(other)}.`, {
      hint: 'Give all ranks the same version of sralign, configuration, data files and model.',
    });
  }
}
