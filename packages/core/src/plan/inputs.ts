/** What a plan is made from: the model's config.json, and the lengths of the pairs. */
import { join } from 'node:path';
import { CHAT_FORMATS } from '../config/schema/data.js';
import type { Config } from '../config/schema.js';
import { readRows } from '../data/read.js';
import { measuredLimits, readingOf } from '../data/reading.js';
import { filesOf } from '../data/source.js';
import { DataError, ModelError } from '../errors.js';
import { exists } from '../files.js';
import { resolveSources } from '../hf/data-sources.js';
import { localModelFolder, resolveModelFolder } from '../hf/resolve.js';
import { readModelSpec } from '../model/load.js';
import { encodeForRun } from '../tokens/run-data.js';
import { loadTokenizer } from '../tokens/tokenizer.js';
import { type ExampleLengths, lengthsOf, type PairLengths } from './lengths.js';
import type { WayInputs } from './ways.js';

/** Pairs that are encoded for their lengths: enough for the longest, soon done on a large data set. */
const MEASURED_PAIRS = 10_000;

export interface PlanInputs extends WayInputs {
  /** Where the spec is from, for people. */
  readonly modelSource: string;
  /** Where the lengths are from, for people. */
  readonly lengthsSource: string;
}

/**
 * @param spareFolder a folder whose config.json stands in for a model that is not on this machine
 * @throws ModelError when there is no config.json, or it is not supported; DataError when the data cannot be read
 */
export async function readPlanInputs(config: Config, spareFolder: string | null): Promise<PlanInputs> {
  const { path, revision, tokenizer } = config.model;
  const spare =
    spareFolder !== null &&
    (await localModelFolder(path)) === null &&
    (await exists(join(spareFolder, 'config.json'), ModelError));
  const folder = spare ? spareFolder : await resolveModelFolder(path, revision, { need: 'config' });
  const spec = await readModelSpec(folder);
  const modelSource = spare ? `${join(folder, 'config.json')}, because ${path} is not here` : path;
  const resolved = await resolveSources(config, 'training', { offline: true }).catch(ifMissing);
  const sources = typeof resolved === 'string' ? resolved : resolved.sources;
  const missing = typeof sources === 'string' ? sources : await firstMissing(filesOf(sources));
  const tokenizerFolder = tokenizer === null ? folder : await localTokenizerFolder(tokenizer, revision);
  if (
    typeof sources === 'string' ||
    missing !== null ||
    !(await exists(join(tokenizerFolder, 'tokenizer.json'), ModelError))
  ) {
    const absent = missing ?? join(tokenizerFolder, 'tokenizer.json');
    return { spec, modelSource, ...assumedLengths(config, absent) };
  }
  const measured = measuredLimits(config, MEASURED_PAIRS);
  const { rows } = await readRows(sources, readingOf(config), measured);
  const count = (pairs: number): string => pairs.toLocaleString('en-US');
  const purpose = config.data.eval.length === 0 ? 'training' : 'evaluation';
  const loaded = await loadTokenizer(tokenizerFolder, { chatTemplate: config.tokens.chatTemplate });
  const { dataset } = encodeForRun(rows, purpose, config, loaded, null);
  const pairs = dataset.pairs.map(lengthsOf);
  return {
    spec,
    modelSource,
    timePairs: pairs,
    memoryPairs: pairs,
    sharedTokens: dataset.sharedAugmentation.length,
    lengthsSource:
      `${measured.limit === 'sample' ? `a sample of ${count(pairs.length)}` : `the first ${count(pairs.length)}`} pairs of data.train: ` +
      'time for their mean, memory for the longest of them in one microbatch',
  };
}

async function firstMissing(files: readonly string[]): Promise<string | null> {
  for (const file of files) if (!(await exists(file, DataError))) return file;
  return null;
}

/** @returns what is not on this machine: a plan goes on without it, and downloads nothing */
function ifMissing(error: unknown): string {
  if (error instanceof DataError && error.details.file !== undefined) return error.details.file;
  throw error;
}

/** Where model.tokenizer is on this machine, in the hub cache too; itself where it is not: a plan downloads no tokenizer. */
async function localTokenizerFolder(tokenizer: string, revision: string): Promise<string> {
  try {
    return await resolveModelFolder(tokenizer, revision, { need: 'tokenizer', offline: true });
  } catch (cause) {
    if (!(cause instanceof ModelError)) throw cause;
    return tokenizer;
  }
}

type AssumedLengths = Pick<PlanInputs, 'timePairs' | 'memoryPairs' | 'sharedTokens' | 'lengthsSource'>;

/**
 * Examples at the limits of the configuration. Time: the longest prompt, and answers that fill the rest. Memory: a prompt
 * of two tokens, which leaves most room for the answers.
 */
function assumedLengths(config: Config, missing: string): AssumedLengths {
  const { method, tokens, augmentation, data } = config;
  if (method === 'sft') return assumedSequences(tokens, missing);
  const ofChats = data.chat === true || CHAT_FORMATS.includes(data.format);
  const inside = (augmentation.placement ?? (ofChats ? 'last-user-turn' : 'prompt')) === 'last-user-turn';
  const pairOf = (prompt: number): PairLengths => {
    const answer = tokens.maxTokens - prompt;
    const augmentedPrompt = prompt + (inside ? augmentation.maxTokens : 0);
    return { prompt, augmentedPrompt, chosen: answer, rejected: answer };
  };
  const [usual, longest] = [pairOf(tokens.maxPromptTokens), pairOf(2)];
  return {
    timePairs: [usual],
    memoryPairs: [longest],
    sharedTokens: inside ? 0 : augmentation.maxTokens,
    lengthsSource:
      `at the limits, because ${missing} is not here: time for a prompt of ${usual.prompt} and answers of ` +
      `${usual.chosen} tokens, memory for a prompt of ${longest.prompt} and answers of ${longest.chosen}, the most ` +
      `that tokens.maxTokens allows, p of ${augmentation.maxTokens}`,
  };
}

function assumedSequences({ maxTokens, maxPromptTokens }: Config['tokens'], missing: string): AssumedLengths {
  const sequence = (prompt: number): ExampleLengths => ({
    inputs: maxTokens - 1,
    trained: maxTokens - prompt,
  });
  return {
    timePairs: [sequence(maxPromptTokens)],
    memoryPairs: [sequence(2)],
    sharedTokens: 0,
    lengthsSource:
      `at the limits, because ${missing} is not here: sequences of ${maxTokens} tokens, of which time is planned for ` +
      `${maxTokens - maxPromptTokens} that are trained on, and memory for ${maxTokens - 2}, the most that tokens.maxTokens allows`,
  };
}
