/** A whole run: data, model, reference, steps, evaluation, checkpoints, final model. Reads as the list of what happens. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Communicator, currentDevice, NativeError, threads } from '@sralign/native';
import { parse } from 'yaml';
import { writeFolder, writeFolderTogether } from '../checkpoint/commit.js';
import {
  checkpointFolder,
  checkRunFolder,
  createRunFolder,
  latestCheckpoint,
  pruneCheckpoints,
} from '../checkpoint/run-folder.js';
import { watchWorld, worldCommunicator } from '../comm/world.js';
import { stringifyConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { Sampler, type SamplerState } from '../data/sampler.js';
import { CheckpointError, RunError } from '../errors.js';
import { removeLeftovers, writeFileAtomic } from '../files.js';
import { writeModelCard } from '../hf/model-card.js';
import { isRefined } from '../loss/preference.js';
import { MetricsJsonl } from '../metrics/jsonl.js';
import { TensorboardWriter } from '../metrics/tensorboard.js';
import type { CausalLM } from '../model/causal-lm.js';
import { loadModel } from '../model/load.js';
import { saveModel } from '../model/save.js';
import { scheduleFactor } from '../optim/schedule.js';
import { TraceRecorder } from '../shard/trace.js';
import { agreeOnConfig, agreeOnSources } from './agreement.js';
import type { TrainEvent, TrainResult } from './events.js';
import { PreferenceTrainer, type TrainingPair } from './preference-trainer.js';
import {
  attachReference,
  configureCompute,
  loadInitialModel,
  microbatchPairs,
  prepareSources,
  type Sources,
} from './prepare.js';
import {
  checkResumable,
  loadOptimizerState,
  readTrainerState,
  saveTrainerState,
  type TrainerState,
} from './state.js';
import { letOthersRun, wasStopped } from './yield.js';

export interface TrainOptions {
  /** Continue the run in output.folder from its last checkpoint. */
  readonly resume?: boolean;
  /** Delete the run in output.folder first. */
  readonly overwrite?: boolean;
  /** Aborting ends the run with a checkpoint: between microbatches, whose step is then done again on resuming. */
  readonly signal?: AbortSignal;
  /** File that gets a trace of the steps of all ranks (shard/trace.ts). It grows with every step: for short runs. */
  readonly trace?: string;
  readonly onEvent?: (event: TrainEvent) => void;
}

/**
 * Trains as the configuration says and leaves a run folder: config.yaml, metrics.jsonl, TensorBoard events,
 * checkpoints/ and, when finished, final/. As one of several ranks (comm/world.ts) it does its part of that; events come
 * from the first rank only.
 *
 * @throws ConfigError, DataError, ModelError, CheckpointError before anything is written; RunError while running
 */
export async function train(config: Config, options: TrainOptions = {}): Promise<TrainResult> {
  const startedMs = performance.now();
  try {
    const run = await Run.start(config, options, startedMs);
    try {
      using _watch = watchWorld();
      return await run.finish();
    } finally {
      run.close();
    }
  } catch (error) {
    if (!wasStopped(error, options.signal)) throw explained(error);
    // Before the first step there is nothing to save but the reference log-probs, which are on disk already.
    const result = {
      runFolder: config.output.folder,
      finalFolder: null,
      interrupted: true,
      seconds: (performance.now() - startedMs) / 1000,
    };
    if (options.onEvent !== undefined) options.onEvent({ type: 'end', step: 0, ...result });
    return { ...result, steps: 0, metrics: {} };
  }
}

/** Says what to do where memory does not suffice. */
function explained(error: unknown): unknown {
  if (!(error instanceof NativeError) || error.code !== 'ERR_OUT_OF_MEMORY') return error;
  return new RunError(`${error.message}.`, {
    hint:
      'Lower training.microbatchPairs, set training.activationCheckpointing, or share the model between more ranks; ' +
      '`sralign plan` says what fits.',
    cause: error,
  });
}

class Run {
  private metrics: Readonly<Record<string, number>> = {};
  private lastCheckpointStep: number | null;
  /** Of the sampler after the last complete step. */
  private position: SamplerState;

  private constructor(
    private readonly config: Config,
    private readonly options: TrainOptions,
    private readonly communicator: Communicator,
    private readonly sources: Sources,
    private readonly trainPairs: readonly TrainingPair[],
    private readonly evalPairs: readonly TrainingPair[],
    private readonly trainer: PreferenceTrainer,
    private readonly sampler: Sampler,
    private step: number,
    private readonly totalSteps: number,
    private readonly startedMs: number,
    private readonly trace: TraceRecorder | null,
    /** The first rank's. */
    private readonly log: MetricsJsonl | null,
    private readonly tensorboard: TensorboardWriter | null,
  ) {
    this.lastCheckpointStep = step === 0 ? null : step;
    this.position = sampler.state;
  }

  static async start(config: Config, options: TrainOptions, startedMs: number): Promise<Run> {
    const mode = { resume: options.resume === true, overwrite: options.overwrite === true };
    const device = configureCompute(config.training);
    const communicator = worldCommunicator(device);
    agreeOnConfig(config, communicator);
    if (communicator.rank === 0) await checkRunFolder(config.output.folder, mode);
    const sources = await prepareSources(config);
    await agreeOnSources(config, sources, communicator);
    const resumed = mode.resume ? await findCheckpoint(config, communicator) : null;
    const model =
      resumed === null
        ? await loadInitialModel(config, sources.modelFolder, communicator)
        : await loadModel(resumed.folder, {
            dtype: config.training.dtype,
            sharding: { communicator, sharding: config.training.sharding },
          });
    try {
      return await Run.withModel(config, options, startedMs, communicator, sources, model, resumed);
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  private static async withModel(
    config: Config,
    options: TrainOptions,
    startedMs: number,
    communicator: Communicator,
    sources: Sources,
    model: CausalLM,
    resumed: ResumedFrom | null,
  ): Promise<Run> {
    const folder = config.output.folder;
    const first = communicator.rank === 0;
    const onEvent = (first ? options.onEvent : undefined) ?? (() => {});
    if (first) {
      await createRunFolder(folder, { overwrite: options.overwrite === true });
      await writeFileAtomic(join(folder, 'config.yaml'), stringifyConfig(config));
    }
    // The other ranks write checkpoints into the folder that the first has made ready, or into one of their host.
    communicator.exchange(null);
    if (!first) await removeLeftovers(join(folder, 'checkpoints'));
    const state = resumed?.state ?? null;

    const { train: trainSet, evaluation } = sources;
    const { batchPairs, epochs, maxSteps, maxGradNorm, seed } = config.training;
    const totalSteps = maxSteps ?? Math.ceil(trainSet.pairs.length / batchPairs) * epochs;
    onEvent({
      type: 'start',
      runFolder: folder,
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
    const preference = config.method !== 'sft';
    const datasets = [
      { dataset: trainSet, views: { plain: preference, augmented: isRefined(config.method) } },
      // Evaluation measures both views for every preference method, so that methods can be compared.
      ...(evaluation === null
        ? []
        : [{ dataset: evaluation, views: { plain: preference, augmented: preference } }]),
    ];
    const [trainPairs, evalPairs] = await attachReference(
      config,
      sources,
      resumed === null ? model : null,
      datasets,
      communicator,
      onEvent,
      options.signal,
    );

    const trainer = new PreferenceTrainer(model, trainSet.sharedAugmentation, {
      method: config.method,
      ...config.loss,
      sftReduction: config.sft.reduction,
      optimizer: config.optimizer,
      maxGradNorm,
      microbatchPairs: microbatchPairs(config, communicator),
      activationCheckpointing: config.training.activationCheckpointing,
    });
    if (resumed !== null) {
      await loadOptimizerState(resumed.folder, trainer.optimizer, resumed.state.step, communicator);
    }
    const sampler = new Sampler(trainSet.pairs.length, seed, state?.sampler);
    const trace = options.trace === undefined ? null : new TraceRecorder(communicator);
    if (trace !== null) model.units.trace = trace;
    const log = first ? await MetricsJsonl.open(join(folder, 'metrics.jsonl'), state?.step ?? null) : null;
    const tensorboard =
      first && config.logging.tensorboard ? new TensorboardWriter(join(folder, 'runs')) : null;
    return new Run(
      config,
      { ...options, onEvent },
      communicator,
      sources,
      trainPairs!,
      evalPairs ?? [],
      trainer,
      sampler,
      state?.step ?? 0,
      totalSteps,
      startedMs,
      trace,
      log,
      tensorboard,
    );
  }

  async finish(): Promise<TrainResult> {
    const { evaluation, checkpoint, logging } = this.config;
    const { communicator } = this;
    const { signal } = this.options;
    try {
      if (this.step === 0 && evaluation.atStart) await this.evaluate(this.stepSignal);
      while (this.step < this.totalSteps) {
        if (communicator.worldSize > 1) await letOthersRun(signal, communicator);
        else signal?.throwIfAborted();
        await this.trainStep(logging.everySteps);
        const atEnd = this.step === this.totalSteps;
        // Not interrupted, so that a resumed run has the record of every evaluation.
        if (isDue(evaluation.everySteps, this.step) || atEnd) await this.evaluate();
        if (isDue(checkpoint.everySteps, this.step) || atEnd) await this.checkpoint();
      }
    } catch (error) {
      if (!wasStopped(error, signal)) throw error;
      await this.checkpoint();
      return this.end(true, null);
    }
    const finalFolder = await this.writeFinalModel();
    await this.writeTrace();
    return this.end(false, finalFolder);
  }

  close(): void {
    this.trainer.dispose();
    this.trainer.model.dispose();
  }

  private async trainStep(logEverySteps: number): Promise<void> {
    const { optimizer, schedule } = this.config;
    const epoch = this.sampler.state.epoch + this.sampler.state.position / this.trainPairs.length;
    const pairs = this.sampler.next(this.config.training.batchPairs).map(index => this.trainPairs[index]!);
    const learningRate = optimizer.learningRate * scheduleFactor(schedule, this.step, this.totalSteps);
    let metrics: Record<string, number>;
    this.trace?.begin(`step ${this.step + 1}`, 'step');
    try {
      metrics = { ...(await this.trainer.step(pairs, learningRate, this.stepSignal)), epoch };
    } catch (error) {
      throw error instanceof RunError ? this.stepError(error) : error;
    }
    this.trace?.end();
    this.trace?.collect();
    this.step++;
    this.position = this.sampler.state;
    this.metrics = metrics;
    if (isDue(logEverySteps, this.step) || this.step === this.totalSteps) this.record(metrics);
    this.emit({ type: 'step', step: this.step, totalSteps: this.totalSteps, metrics });
  }

  /** Several ranks stop between steps, where they ask each other. */
  private get stepSignal(): AbortSignal | undefined {
    return this.communicator.worldSize > 1 ? undefined : this.options.signal;
  }

  private async evaluate(signal?: AbortSignal): Promise<void> {
    if (this.evalPairs.length === 0) return;
    const startMs = performance.now();
    const means = await this.trainer.evaluate(this.evalPairs, this.config.evaluation.batchPairs, signal);
    means['time/evaluation_ms'] = performance.now() - startMs;
    const metrics = Object.fromEntries(Object.entries(means).map(([name, value]) => [`eval_${name}`, value]));
    this.metrics = metrics;
    this.record(metrics);
    this.emit({ type: 'evaluate', step: this.step, metrics });
  }

  private record(metrics: Readonly<Record<string, number>>): void {
    this.log?.write({ step: this.step, ...metrics });
    this.tensorboard?.write(this.step, metrics);
  }

  private async checkpoint(): Promise<void> {
    // Step 0 is the initial model, from which a run without checkpoints starts anyway.
    if (this.step === 0 || this.lastCheckpointStep === this.step) return;
    const folder = checkpointFolder(this.config.output.folder, this.step);
    const state = { step: this.step, sampler: this.position };
    await writeFolderTogether(folder, this.communicator, temporary =>
      saveTrainerState(temporary, this.trainer.model, this.trainer.optimizer, state, this.sources),
    );
    // On every rank, for hosts that do not share their files.
    await pruneCheckpoints(this.config.output.folder, this.config.checkpoint.keepLast);
    this.lastCheckpointStep = this.step;
    this.emit({ type: 'checkpoint', step: this.step, folder });
  }

  private async writeFinalModel(): Promise<string> {
    const folder = join(this.config.output.folder, 'final');
    const { modelFolder, tokenizerFolder, reports } = this.sources;
    if (this.communicator.rank > 0) {
      await saveModel(this.trainer.model, folder, modelFolder, tokenizerFolder);
      return folder;
    }
    await writeFolder(folder, async temporary => {
      await saveModel(this.trainer.model, temporary, modelFolder, tokenizerFolder);
      await writeModelCard(temporary, {
        config: this.config,
        modelFolder,
        reports,
        trainPairs: this.trainPairs.length,
        steps: this.step,
        metrics: this.metrics,
        seconds: (performance.now() - this.startedMs) / 1000,
      });
    });
    return folder;
  }

  private async writeTrace(): Promise<void> {
    if (this.trace === null) return;
    const file = this.options.trace!;
    const overlap = await this.trace.write(file);
    this.emit({ type: 'trace', step: this.step, file, ...overlap });
  }

  private end(interrupted: boolean, finalFolder: string | null): TrainResult {
    const seconds = (performance.now() - this.startedMs) / 1000;
    const runFolder = this.config.output.folder;
    this.emit({ type: 'end', step: this.step, interrupted, runFolder, finalFolder, seconds });
    return { runFolder, finalFolder, steps: this.step, interrupted, metrics: this.metrics, seconds };
  }

  private stepError(error: RunError): RunError {
    const last =
      this.lastCheckpointStep === null
        ? 'There is no checkpoint yet.'
        : `The last good checkpoint is ${checkpointFolder(this.config.output.folder, this.lastCheckpointStep)}.`;
    return new RunError(`Step ${this.step + 1}: ${error.message} ${last}`, {
      hint: 'Lower optimizer.learningRate or training.maxGradNorm, or use training.dtype f32.',
      cause: error,
    });
  }

  private emit(event: TrainEvent): void {
    this.options.onEvent?.(event);
  }
}

const isDue = (everySteps: number | null, step: number): boolean =>
  everySteps !== null && step % everySteps === 0;

interface ResumedFrom {
  readonly folder: string;
  readonly state: TrainerState;
}

/** The newest checkpoint of the run, as the first rank sees it. */
async function findCheckpoint(config: Config, communicator: Communicator): Promise<ResumedFrom | null> {
  const found = communicator.rank === 0 ? await readCheckpoint(config) : null;
  return communicator.exchange(found)[0] ?? null;
}

async function readCheckpoint(config: Config): Promise<ResumedFrom | null> {
  const folder = config.output.folder;
  const file = join(folder, 'config.yaml');
  const saved = await readFile(file, 'utf8').catch(() => null);
  if (saved === null) {
    throw new CheckpointError('There is no run to resume in this folder.', {
      file: folder,
      field: 'output.folder',
      hint: 'Start it without --resume.',
    });
  }
  checkResumable(parse(saved), config, file);
  const checkpoint = await latestCheckpoint(folder);
  return checkpoint && { folder: checkpoint.folder, state: await readTrainerState(checkpoint.folder) };
}
