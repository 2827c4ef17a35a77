/**
 * Whether all ranks are about to do the same: program, request, configuration, data, models. A difference would otherwise
 * show as wrong numbers, or as ranks that wait for each other for ever.
 */
import type { Communicator } from '@sralign/native';
import { isHostLeader } from '../comm/turns.js';
import type { Config } from '../config/schema.js';
import { ConfigError } from '../errors.js';
import { modelKey } from '../reference/key.js';
import { VERSION } from '../version.js';
import { type DataDigest, digestData, digestText, type RunInputs } from './inputs.js';
import type { Sources } from './prepare.js';

/** What may differ: how much of its machine a rank uses. */
const OWN_AFFAIR: readonly string[] = ['training.threads'];

/**
 * @param request what decides, beside the configuration, what a rank does
 * @throws ConfigError naming the key and the ranks, on all ranks
 */
export function agreeOnConfig(
  config: Config,
  request: Readonly<Record<string, unknown>>,
  communicator: Communicator,
): void {
  if (communicator.worldSize === 1) return;
  const facts: Record<string, unknown> = { 'the version of sralign': VERSION, ...request };
  for (const [section, values] of Object.entries(config)) {
    const keys = typeof values === 'object' ? Object.entries(values) : [['', values] as const];
    for (const [key, value] of keys) {
      const path = key === '' ? section : `${section}.${key}`;
      if (!OWN_AFFAIR.includes(path)) facts[path] = value;
    }
  }
  agree(communicator.exchange(facts), communicator);
}

/**
 * The same for what was read: every token of every pair, and the weights of the model and the reference, which one rank
 * of every host reads.
 *
 * @returns the digests of all that, which checkpoints keep
 */
export async function agreeOnSources(
  config: Config,
  sources: Sources,
  communicator: Communicator,
): Promise<RunInputs> {
  const { modelFolder, referenceFolder, tokenizer } = sources;
  const seed = config.model.init === 'random' ? config.training.seed : undefined;
  const keyOf = (folder: string): Promise<string> =>
    modelKey(folder, config.training.dtype, folder === modelFolder ? seed : undefined);
  const facts: Record<string, unknown> = {};
  if (isHostLeader(communicator)) {
    const model = await keyOf(modelFolder);
    const ofReference =
      referenceFolder === modelFolder ? model : referenceFolder && (await keyOf(referenceFolder));
    Object.assign(facts, { [MODEL]: model, [REFERENCE]: ofReference });
  }
  const train = digestData(sources.train);
  const evaluation = sources.evaluation && digestData(sources.evaluation);
  facts['the training data (data.train)'] = show(train);
  facts['the evaluation data (data.eval)'] = evaluation && show(evaluation);
  const all = communicator.exchange(facts);
  agree(all, communicator);
  return {
    train,
    eval: evaluation,
    tokenizer: tokenizer.hash,
    chatTemplate: tokenizer.chatTemplate === null ? null : digestText(tokenizer.chatTemplate),
    model: all[0]![MODEL] as string,
    reference: all[0]![REFERENCE] as string | null,
  };
}

const MODEL = 'the model (model.path)';
const REFERENCE = 'the reference model (reference.model)';

const show = ({ pairs, sha256 }: DataDigest): string => `${pairs} pairs, sha256 ${sha256.slice(0, 16)}`;

/** @param all the facts of every rank; one that a rank lacks is no disagreement */
function agree(all: readonly Readonly<Record<string, unknown>>[], { hosts }: Communicator): void {
  for (const [name, expected] of Object.entries(all[0]!)) {
    const differs = (facts: Readonly<Record<string, unknown>>): boolean =>
      name in facts && JSON.stringify(facts[name]) !== JSON.stringify(expected);
    const other = all.findIndex(differs);
    if (other < 0) continue;
    const show = (rank: number): string =>
      `${JSON.stringify(all[rank]![name])} on rank ${rank} (${hosts[rank]})`;
    throw new ConfigError(`The ranks disagree about ${name}: it is ${show(0)}, but ${show(other)}.`, {
      hint: 'Give all ranks the same version of sralign, arguments, configuration, data files and models.',
    });
  }
}
