/** From a configuration to everything a run needs: model, encoded pairs and their reference log-probs. */
import { join } from 'node:path';
import { type Communicator, threads } from '@sralign/native';
import { inTurns, isHostLeader } from '../comm/turns.js';
import { environment } from '../config/env.js';
import type { Config } from '../config/schema.js';
import { streamRows } from '../data/read.js';
import { limitsOf, readingOf } from '../data/reading.js';
import { dataReports } from '../data/report.js';
import type { DataReport } from '../data/rows.js';
import { visitsOf } from '../data/sampler.js';
import { type DataSource, filesOf, weightedPairs } from '../data/source.js';
import { ConfigError, DataError } from '../errors.js';
import { resolveSources } from '../hf/data-sources.js';
import { type Companions, readCompanions } from '../hf/folder.js';
import { resolveModelFolder } from '../hf/resolve.js';
import type { CausalLM } from '../model/causal-lm.js';
import { loadModel, readModelSpec } from '../model/load.js';
import type { ModelSpec } from '../model/spec.js';
import { ReferenceCache } from '../reference/cache.js';
import { endOfTurnNotice } from '../tokens/completion.js';
import { type EncodedDataset, type EncodedExample, sameTokens } from '../tokens/encode.js';
import type { EncodedStream } from '../tokens/encode-stream.js';
import { isPair } from '../tokens/examples.js';
import { loadRunData } from '../tokens/run-data.js';
import { withChatTemplate } from '../tokens/saved-template.js';
import { SetCache } from '../tokens/set-cache.js';
import { textNotices } from '../tokens/text-notices.js';
import { loadTokenizer, type Tokenizer } from '../tokens/tokenizer.js';
import { emptyGroupWarnings } from './eval-groups.js';
import type { TrainEvent } from './events.js';
import type { TrainingPair } from './preference-trainer.js';
import { checkReference } from './reference-check.js';
import { rowWarnings, sharedPairsWarnings } from './warnings.js';
import { letOthersRun } from './yield.js';

export interface Sources {
  readonly modelFolder: string;
  /** Of the reference model: `modelFolder` where it is the initial policy; null where the method needs none. */
  readonly referenceFolder: string | null;
  readonly tokenizerFolder: string;
  /** What every save puts beside the weights. */
  readonly companions: Companions;
  readonly tokenizer: Tokenizer;
  /** Of the model, as its config.json says. */
  readonly spec: ModelSpec;
  readonly train: EncodedStream;
  readonly evaluation: EncodedStream | null;
  /** Of `data.train` and `data.eval`, with their files. */
  readonly trainSources: readonly DataSource[];
  readonly evalSources: readonly DataSource[];
  /** One of each training file, then one of each evaluation file. */
  readonly reports: readonly DataReport[];
  /** p, in front of every augmented prompt of both; empty where there is none. */
  readonly sharedAugmentation: Int32Array;
  /** What of the request is left out, and why. */
  readonly notices: readonly string[];
  /** What is odd about the answers. */
  readonly warnings: readonly string[];
}

/**
 * Reads, encodes and checks the data of a run; nothing but the cache of encoded data is written.
 *
 * @param now the clock of chat templates
 * @param signal aborting it ends the work; one process only
 * @throws ModelError, DataError, ConfigError naming the file, row and field; the signal's reason when it is aborted
 */
export async function prepareSources(
  config: Config,
  communicator: Communicator,
  now: Date,
  signal?: AbortSignal,
): Promise<Sources> {
  const folders = await inTurns(communicator, () => resolveFolders(config));
  const { modelFolder, tokenizerFolder } = folders;
  const spec = await readModelSpec(modelFolder);
  const { chatTemplate } = config.tokens;
  const tokenizer = await loadTokenizer(tokenizerFolder, { now, chatTemplate });
  const limits = { ...spec, modelFolder };
  const reports: DataReport[] = [];
  const notices: string[] = [];
  const warnings: string[] = [];
  const cache = new SetCache(config.data.cacheFolder ?? join(environment().cacheHome, 'sralign', 'encoded'));
  const encode = async (
    purpose: DataReport['purpose'],
    sources: readonly DataSource[],
  ): Promise<EncodedStream> => {
    const [reading, ofRows] = [readingOf(config), limitsOf(config, purpose)];
    const request = {
      ...{ purpose, config, tokenizer, limits },
      files: filesOf(sources),
      rowSettings: { reading, sources, ofRows: ofRows.maxPairs === null ? null : ofRows },
      open: () => streamRows(sources, reading, ofRows),
    };
    // The first rank of a host has its processors to itself, and the others find what it has encoded, if the cache keeps it.
    const threads = encodingThreads(communicator);
    const options = { threads, signal: communicator.worldSize === 1 ? signal : undefined };
    const { encoded, notice } = await inTurns(communicator, () => loadRunData(request, cache, options));
    reports.push(...dataReports(purpose, encoded.readReports, encoded.reports, config.method));
    if (notice !== null) notices.push(notice);
    const ofTurn = encoded.rowCounts.some(({ chats }) => chats > 0) ? endOfTurnNotice(tokenizer) : null;
    if (ofTurn !== null && !notices.includes(ofTurn)) notices.push(ofTurn);
    warnings.push(...rowWarnings(encoded.rowCounts, purpose, config.method));
    return encoded;
  };
  const resolved = await inTurns(communicator, async () => ({
    training: await resolveSources(config, 'training'),
    evaluation: await resolveSources(config, 'evaluation'),
  }));
  const [trainSources, evalSources] = [resolved.training.sources, resolved.evaluation.sources];
  notices.push(...resolved.training.notices, ...resolved.evaluation.notices);
  const train = await encode('training', trainSources);
  checkWeights(train.reports, trainSources);
  const evaluation = evalSources.length === 0 ? null : await encode('evaluation', evalSources);
  const evalFiles = evaluation?.pairs.map(({ file }) => file) ?? [];
  warnings.push(...emptyGroupWarnings(config, evalFiles, evalSources));
  const sharedAugmentation = commonAugmentation(train, evaluation);
  const { referenceFolder } = folders;
  if (referenceFolder !== null && referenceFolder !== modelFolder) {
    const datasets = evaluation === null ? [train] : [train, evaluation];
    await checkReference(referenceFolder, tokenizer, datasets);
  }
  warnings.push(...sharedPairsWarnings(train.pairs, evaluation?.pairs ?? []));
  const ofTraining = reports.filter(({ purpose }) => purpose === 'training');
  const saved = withChatTemplate(await readCompanions(modelFolder, tokenizerFolder), tokenizer, {
    chosen: chatTemplate !== null,
    dialogues: ofTraining.every(({ format }) => format === 'hh'),
  });
  if (saved.notice !== null) notices.push(saved.notice);
  notices.push(...cache.notices, ...textNotices(reports, config.data.chat, tokenizer.chatTemplate));
  return {
    ...folders,
    ...{ companions: saved.companions, tokenizer, spec, train, evaluation, sharedAugmentation },
    ...{ trainSources, evalSources },
    ...{ reports, notices, warnings },
  };
}

/** @throws ConfigError when an epoch visits nothing of a source that has something */
function checkWeights(counts: EncodedStream['reports'], sources: readonly DataSource[]): void {
  const blocks = weightedPairs(counts, sources);
  if (typeof blocks === 'number') return;
  const never = blocks.findIndex(block => block.pairs > 0 && visitsOf(block) === 0);
  if (never < 0) return;
  const { pairs, weight } = blocks[never]!;
  throw new ConfigError(
    `The weight ${weight} of this source is so small that an epoch visits none of its ${pairs} examples.`,
    {
      file: sources[never]!.files[0]!,
      field: 'data.train',
      hint: 'Raise it (a weight of 1 visits each once an epoch), or leave the source out.',
    },
  );
}

function encodingThreads(communicator: Communicator): number {
  const { hosts, rank } = communicator;
  if (!isHostLeader(communicator)) return threads();
  return threads() * hosts.filter(host => host === hosts[rank]).length;
}

/** @throws DataError when the two begin differently: they go through the same passes */
function commonAugmentation(train: EncodedDataset, evaluation: EncodedDataset | null): Int32Array {
  if (evaluation === null || !evaluation.augmented) return train.sharedAugmentation;
  if (train.augmented && !sameTokens(train.sharedAugmentation, evaluation.sharedAugmentation)) {
    throw new DataError('The augmented prompts of data.train and data.eval begin differently.', {
      field: 'data.eval',
      hint: 'Use chats or plain texts for both.',
    });
  }
  return evaluation.sharedAugmentation;
}

async function resolveFolders(
  config: Config,
): Promise<Pick<Sources, 'modelFolder' | 'tokenizerFolder' | 'referenceFolder'>> {
  const { path, revision, init, tokenizer } = config.model;
  const modelFolder = await resolveModelFolder(path, revision, {
    need: init === 'pretrained' ? 'weights' : 'config',
  });
  const tokenizerFolder =
    tokenizer === null ? modelFolder : await resolveModelFolder(tokenizer, revision, { need: 'tokenizer' });
  const reference = config.reference.model;
  const otherFolder = reference === null ? modelFolder : await resolveModelFolder(reference, revision);
  const referenceFolder = config.method === 'sft' ? null : otherFolder;
  return { modelFolder, tokenizerFolder, referenceFolder };
}

/** A model that the ranks share as the configuration says. @param randomSeed draws the weights instead of reading them */
export function loadSharedModel(
  { training }: Config,
  folder: string,
  communicator: Communicator,
  randomSeed?: number,
): Promise<CausalLM> {
  return loadModel(folder, {
    dtype: training.dtype,
    sharding: { communicator, sharding: training.sharding },
    ...(randomSeed !== undefined && { randomSeed }),
  });
}

/** The model a run starts from. */
export function loadInitialModel(
  config: Config,
  folder: string,
  communicator: Communicator,
): Promise<CausalLM> {
  const seed = config.model.init === 'random' ? config.training.seed : undefined;
  return loadSharedModel(config, folder, communicator, seed);
}

/** Pairs that go through the model at once on every rank. */
export function microbatchPairs({ training }: Config, { worldSize }: Communicator): number {
  return training.microbatchPairs ?? Math.ceil(training.batchPairs / worldSize);
}

interface ReferencedDataset {
  readonly dataset: EncodedDataset;
  readonly indices?: readonly number[];
}

/**
 * Reference log-probs of the data sets, in each view they have: from the cache, or computed by the reference model (the
 * initial policy, unless reference.model names another). The ranks compute them together.
 *
 * @param referenceKey identity of the reference model; null where the method needs none
 * @param initialPolicy the policy at step 0; null when the run resumes and the policy has moved on
 * @param datasets `indices`: of the pairs that will be used (the others get no reference), by default all
 * @param signal aborting it stops between batches; what was computed stays in the cache
 * @throws CheckpointError when the cache does not match; the signal's reason when it is aborted
 */
export async function attachReference(
  config: Config,
  sources: Sources,
  referenceKey: string | null,
  initialPolicy: CausalLM | null,
  datasets: readonly ReferencedDataset[],
  communicator: Communicator,
  onEvent: (event: TrainEvent) => void,
  signal?: AbortSignal,
): Promise<TrainingPair[][]> {
  if (referenceKey === null) {
    return datasets.map(({ dataset }) => dataset.pairs.map(trainingPair));
  }
  const cacheFolder = config.reference.cacheFolder ?? join(config.output.folder, 'reference-cache');
  const cache = new ReferenceCache(cacheFolder, referenceKey, communicator);
  const own = config.reference.model === null;
  const borrowed = own ? initialPolicy : null;
  let told = cache.damagedRecords === 0;
  const load = own ? loadInitialModel : loadSharedModel;
  const model = borrowed ?? (await load(config, sources.referenceFolder!, communicator));
  const batchPairs = microbatchPairs(config, communicator);
  try {
    const result: TrainingPair[][] = [];
    for (const { dataset, indices = [...dataset.pairs.keys()] } of datasets) {
      const pairs = indices.map(index => dataset.pairs[index]!).filter(isPair);
      const logpsOf = async (view: 'plain' | 'augmented') => {
        const request = { pairs, view, sharedAugmentation: dataset.sharedAugmentation };
        const totalPairs = pairs.length;
        const cached = cache.lookup(request).every(entry => entry !== undefined);
        cache.verify(model, request, config.reference.verifyPairs);
        if (!cached && !told) {
          const message = `${cache.file}: records that are damaged or unfinished are computed again.`;
          onEvent({ type: 'notice', message });
          told = true;
        }
        onEvent({ type: 'reference', view, donePairs: cached ? totalPairs : 0, totalPairs, cached });
        return cache.fill(model, request, batchPairs, async donePairs => {
          onEvent({ type: 'reference', view, donePairs, totalPairs, cached: false });
          await letOthersRun(signal, communicator);
        });
      };
      const references = await logpsOf('plain');
      const augmentedReferences = dataset.augmented ? await logpsOf('augmented') : null;
      const trainingPairs = dataset.pairs.map(trainingPair);
      for (const [i, index] of indices.entries()) {
        trainingPairs[index] = {
          ...trainingPairs[index]!,
          reference: references[i]!,
          augmentedReference: augmentedReferences?.[i] ?? null,
        };
      }
      result.push(trainingPairs);
    }
    return result;
  } finally {
    if (borrowed === null) model.dispose();
  }
}

function trainingPair(tokens: EncodedExample): TrainingPair {
  return { tokens, reference: null, augmentedReference: null, source: `${tokens.file}:${tokens.row}` };
}
