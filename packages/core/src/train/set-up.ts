/** Everything a run needs before its first step: folder, data, model, reference, trainer. Reads as the list of what happens. */
import { access, constants } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Communicator, currentDevice, type DeviceName, threads } from '@sralign/native';
import { checkInputsApart, type RunInput } from '../checkpoint/inputs-apart.js';
import { checkRunFolder, createRunFolder } from '../checkpoint/run-folder.js';
import { lockRunFolder, newJobName, type RunLock } from '../checkpoint/run-lock.js';
import { recordFiles } from '../checkpoint/run-record.js';
import { configureCompute } from '../comm/compute.js';
import { inTurns, isHostLeader } from '../comm/turns.js';
import { joinWorld, worldCommunicator } from '../comm/world.js';
import { stringifyConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { dataWarnings } from '../data/report.js';
import { Sampler } from '../data/sampler.js';
import { weightedPairs } from '../data/source.js';
import { ConfigError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { localInputs } from '../hf/data-sources.js';
import { localModelFolder } from '../hf/resolve.js';
import { MetricsJsonl } from '../metrics/jsonl.js';
import { TensorboardWriter } from '../metrics/tensorboard.js';
import type { CausalLM } from '../model/causal-lm.js';
import { TraceRecorder } from '../shard/trace.js';
import { BUILT_IN_TEMPLATES } from '../tokens/built-in-templates.js';
import { agreeOnConfig, agreeOnSources } from './agreement.js';
import { EvaluationWatch } from './best.js';
import { templateClock, writeClock } from './clock.js';
import { groupsOf } from './eval-groups.js';
import type { TrainEvent, TrainResult } from './events.js';
import type { RunInputs } from './inputs.js';
import { checkMemory } from './memory-check.js';
import { PreferenceTrainer, type TrainingPair } from './preference-trainer.js';
import {
  attachReference,
  loadInitialModel,
  loadSharedModel,
  microbatchPairs,
  prepareSources,
  type Sources,
} from './prepare.js';
import { rehearseSaves } from './rehearse.js';
import { checkRun, findCheckpoint, type ResumedFrom, removeResult } from './resume.js';
import { loadOptimizerState } from './state.js';
import { configWarnings } from './warnings.js';

export interface RunOptions {
  readonly resume: boolean;
  readonly overwrite: boolean;
  /** Where the configuration was read from, or null. */
  readonly configFile: string | null;
  /** File of the trace, or null. */
  readonly trace: string | null;
  readonly signal: AbortSignal;
  readonly onEvent: (event: TrainEvent) => void;
}

/** What a run works with. */
export interface PreparedRun {
  /** Of the run folder; the caller gives it back. */
  readonly lock: RunLock;
  readonly communicator: Communicator;
  readonly sources: Sources;
  readonly inputs: RunInputs;
  readonly trainPairs: readonly TrainingPair[];
  readonly evalPairs: readonly TrainingPair[];
  /** The names of those that have metrics of their own. */
  readonly evalGroups: ReadonlyMap<TrainingPair, string>;
  readonly trainer: PreferenceTrainer;
  readonly sampler: Sampler;
  /** Updates that were done before. */
  readonly step: number;
  readonly totalSteps: number;
  /** What the evaluations before were. */
  readonly watch: EvaluationWatch;
  readonly trace: TraceRecorder | null;
  /** The first rank's. */
  readonly log: MetricsJsonl | null;
  readonly tensorboard: TensorboardWriter | null;
}

/**
 * Writes nothing but a lock before everything that can be wrong with the input has been looked at; an old run is deleted
 * after that.
 *
 * @returns the result instead, where the run that is to be resumed is finished
 * @throws as `train`
 */
export async function setUpRun(config: Config, options: RunOptions): Promise<PreparedRun | TrainResult> {
  const device = configureCompute(config.training, joinWorld().localRank);
  const communicator = worldCommunicator(device);
  const { resume, overwrite, trace } = options;
  agreeOnConfig(
    config,
    { '--resume': resume, '--overwrite': overwrite, '--trace': trace !== null },
    communicator,
  );
  const lock = await lockTogether(config.output.folder, communicator);
  try {
    const prepared = await setUpLocked(config, options, device, communicator);
    if ('trainer' in prepared) return { lock, ...prepared };
    await lock.release();
    return prepared;
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** One rank of every host takes the lock of the folder as its host sees it. */
async function lockTogether(folder: string, communicator: Communicator): Promise<RunLock> {
  const [job] = communicator.exchange(newJobName());
  return inTurns(communicator, async () =>
    isHostLeader(communicator) ? await lockRunFolder(folder, job!) : { release: async () => {} },
  );
}

async function setUpLocked(
  config: Config,
  options: RunOptions,
  device: DeviceName,
  communicator: Communicator,
): Promise<Omit<PreparedRun, 'lock'> | TrainResult> {
  const { resume, overwrite, trace } = options;
  if (communicator.rank === 0) {
    await checkRunFolder(config.output.folder, options);
    if (overwrite) await checkInputsApart(config.output.folder, await inputsOf(config, options));
    if (trace !== null) await checkTracePlace(trace);
  }
  const finished = resume ? await checkRun(config, communicator) : null;
  if (finished !== null) return finished;
  const now = await templateClock(config.output.folder, resume, communicator);
  const sources = await prepareSources(config, communicator, now, options.signal);
  const inputs = await agreeOnSources(config, sources, communicator);
  await checkMemory(config, sources, device, communicator, options.onEvent);
  const resumed = resume ? await findCheckpoint(config, inputs, communicator) : null;
  const model =
    resumed === null
      ? await loadInitialModel(config, sources.modelFolder, communicator)
      : await loadSharedModel(config, resumed.folder, communicator);
  try {
    await rehearseSaves(config, model, sources.companions, communicator);
    await writeRunFolder(config, sources, overwrite, communicator);
    return await withModel(config, options, communicator, sources, inputs, model, resumed);
  } catch (error) {
    model.dispose();
    throw error;
  }
}

async function inputsOf(config: Config, { configFile, trace }: RunOptions): Promise<RunInput[]> {
  const { model, reference, tokens } = config;
  const input = (field: string, ...paths: readonly (string | null)[]): RunInput[] =>
    paths.filter(path => path !== null).map(path => ({ field, path }));
  // A step of a run is in that run's folder.
  const modelInput = async (field: string, name: string | null): Promise<RunInput[]> =>
    input(field, name && ((await localModelFolder(name)) ?? name));
  return [
    ...(await modelInput('model.path', model.path)),
    ...(await modelInput('model.tokenizer', model.tokenizer)),
    ...(await modelInput('reference.model', reference.model)),
    ...input('reference.cacheFolder', reference.cacheFolder),
    ...input('tokens.chatTemplate', templateFile(tokens.chatTemplate)),
    ...(await localInputs(config)),
    ...input('data.cacheFolder', config.data.cacheFolder),
    ...input('the configuration', configFile),
    ...input('--trace', trace),
  ];
}

const templateFile = (chatTemplate: string | null): string | null =>
  BUILT_IN_TEMPLATES.some(name => name === chatTemplate) ? null : chatTemplate;

/** It is written at the end of the run. @throws ConfigError */
async function checkTracePlace(file: string): Promise<void> {
  await access(dirname(file), constants.W_OK | constants.X_OK).catch((cause: Error) => {
    throw new ConfigError(`The trace cannot be written there (${cause.message}).`, {
      file,
      cause,
      hint: 'Name a file in a folder that exists and can be written into.',
    });
  });
}

/** The folder, ready to be written into on every host, whether they share their files or not. */
async function writeRunFolder(
  config: Config,
  sources: Sources,
  overwrite: boolean,
  communicator: Communicator,
): Promise<void> {
  const { folder } = config.output;
  await inTurns(communicator, async () => {
    if (isHostLeader(communicator)) await createRunFolder(folder, { overwrite }, communicator.rank);
  });
  if (communicator.rank > 0) return;
  await removeResult(folder);
  await writeClock(folder, sources.tokenizer.now);
  await writeFileAtomic(join(folder, 'config.yaml'), stringifyConfig(config));
}

async function withModel(
  config: Config,
  { resume, trace: traceFile, signal, onEvent }: RunOptions,
  communicator: Communicator,
  sources: Sources,
  inputs: RunInputs,
  model: CausalLM,
  resumed: ResumedFrom | null,
): Promise<Omit<PreparedRun, 'lock'>> {
  const { folder } = config.output;
  const first = communicator.rank === 0;
  const state = resumed?.state ?? null;

  const { train: trainSet, evaluation } = sources;
  const { batchPairs, epochs, maxSteps, maxGradNorm, seed } = config.training;
  const sampler = new Sampler(weightedPairs(trainSet.reports, sources.trainSources), seed, state?.sampler);
  const totalSteps = maxSteps ?? Math.ceil(sampler.epochPairs / batchPairs) * epochs;
  onEvent({
    type: 'start',
    runFolder: folder,
    resume,
    resumedFromStep: state?.step ?? null,
    trainPairs: trainSet.pairs.length,
    evalPairs: evaluation?.pairs.length ?? 0,
    totalSteps,
    parameters: model.parameterCount,
    hosts: communicator.hosts,
    sharding: config.training.sharding,
    device: currentDevice(),
    dtype: config.training.dtype,
    threads: threads(),
    reports: sources.reports,
  });
  for (const message of [...model.notices, ...sources.notices]) onEvent({ type: 'notice', message });
  for (const message of [
    ...sources.reports.flatMap(dataWarnings),
    ...sources.warnings,
    ...configWarnings(config, totalSteps),
  ])
    onEvent({ type: 'warning', message });
  const stepsLeft = totalSteps - (state?.step ?? 0);
  const datasets = [
    { dataset: trainSet, indices: sampler.upcoming(stepsLeft, batchPairs) },
    ...(evaluation === null || stepsLeft <= 0 ? [] : [{ dataset: evaluation }]),
  ];
  const [trainPairs, evalPairs] = await attachReference(
    config,
    sources,
    inputs.reference,
    resumed === null ? model : null,
    datasets,
    communicator,
    onEvent,
    signal,
  );

  const trainer = new PreferenceTrainer(model, sources.sharedAugmentation, {
    method: config.method,
    ...config.loss,
    sftReduction: config.sft.reduction,
    optimizer: config.optimizer,
    maxGradNorm,
    microbatchPairs: microbatchPairs(config, communicator),
    activationCheckpointing: config.training.activationCheckpointing,
  });
  try {
    if (resumed !== null) {
      await loadOptimizerState(resumed.folder, trainer.optimizer, resumed.state.step, communicator);
    }
    const trace = traceFile !== null ? new TraceRecorder(communicator) : null;
    if (trace !== null) model.units.trace = trace;
    return {
      communicator,
      sources,
      inputs,
      trainPairs: trainPairs!,
      evalPairs: evalPairs ?? [],
      evalGroups: groupsOf(
        evalPairs ?? [],
        evaluation?.pairs.map(({ file }) => file) ?? [],
        sources.evalSources,
      ),
      trainer,
      sampler,
      step: state?.step ?? 0,
      totalSteps,
      watch: new EvaluationWatch(config, state),
      trace,
      log: first ? await MetricsJsonl.open(join(folder, 'metrics.jsonl'), state?.step ?? null) : null,
      tensorboard: first && config.logging.tensorboard ? await openTensorboard(folder) : null,
    };
  } catch (error) {
    trainer.dispose();
    throw error;
  }
}

async function openTensorboard(runFolder: string): Promise<TensorboardWriter> {
  // Not in a folder inside: TensorBoard calls a run by the folder of its events.
  const writer = new TensorboardWriter(runFolder);
  await recordFiles(runFolder, 0, [basename(writer.file)]);
  return writer;
}
