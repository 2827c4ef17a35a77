/** A whole run: steps, evaluation, checkpoints, final model. Reads as the list of what happens. */
import { join } from 'node:path';
import { NativeError } from '@sralign/native';
import { verifyCheckpoint, writeChecksums } from '../checkpoint/checksums.js';
import { writeFolder, writeFolderTogether } from '../checkpoint/commit.js';
import { checkpointFolder, pruneCheckpoints } from '../checkpoint/run-folder.js';
import { recordFolder } from '../checkpoint/run-record.js';
import { watchWorld } from '../comm/world.js';
import { environment } from '../config/env.js';
import type { Config } from '../config/schema.js';
import type { SamplerState } from '../data/sampler.js';
import { RunError } from '../errors.js';
import { writeModelCard } from '../hf/model-card.js';
import { NotFiniteError } from '../hf/safetensors-writer.js';
import { accuracyIntervals, type ShareInterval } from '../metrics/intervals.js';
import { readMetrics, withoutPlace } from '../metrics/jsonl.js';
import { loadWeights } from '../model/load.js';
import { saveModel } from '../model/save.js';
import { scheduleFactor } from '../optim/schedule.js';
import { listenToProgress } from '../progress.js';
import { pairsOfAccuracy } from './eval-groups.js';
import type { TrainEvent, TrainResult } from './events.js';
import { writeInputs } from './inputs.js';
import { writeResult } from './resume.js';
import { SaveTimer } from './save-timer.js';
import { type PreparedRun, type RunOptions, setUpRun } from './set-up.js';
import { saveTrainerState, type TrainerState } from './state.js';
import { tokensBefore, trainedTokens } from './token-count.js';
import { LossWatch } from './warnings.js';
import { letOthersRun, wasStopped } from './yield.js';

export interface TrainOptions {
  /**
   * Continue the run in output.folder from its last checkpoint, or from the beginning where there is none. Of a run that is
   * finished it gives the result again.
   */
  readonly resume?: boolean;
  /** Delete the run in output.folder first. */
  readonly overwrite?: boolean;
  /** Where the configuration was read from: never in a folder whose run is overwritten. */
  readonly configFile?: string;
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
  const { rank } = environment();
  const run: RunOptions = {
    resume: options.resume === true,
    overwrite: options.overwrite === true,
    configFile: options.configFile ?? null,
    trace: options.trace ?? null,
    signal: options.signal ?? new AbortController().signal,
    onEvent: (rank === 0 ? options.onEvent : undefined) ?? (() => {}),
  };
  return listenToProgress(
    progress => run.onEvent({ type: 'progress', ...progress }),
    () => runAndReport(config, run),
  );
}

async function runAndReport(config: Config, run: RunOptions): Promise<TrainResult> {
  const startedMs = performance.now();
  try {
    const prepared = await setUpRun(config, run);
    if ('steps' in prepared) return repeatResult(prepared, run);
    try {
      using _watch = watchWorld();
      return await new Run(config, run, prepared, startedMs).finish();
    } finally {
      prepared.trainer.dispose();
      prepared.trainer.model.dispose();
      await prepared.lock.release();
    }
  } catch (error) {
    if (!wasStopped(error, run.signal)) throw explained(error);
    // Before the first step there is nothing to save but the reference log-probs, which are on disk already.
    const result = {
      runFolder: config.output.folder,
      finalFolder: null,
      interrupted: true,
      seconds: (performance.now() - startedMs) / 1000,
    };
    run.onEvent({ type: 'end', step: 0, ...result });
    return {
      ...result,
      steps: 0,
      finalStep: null,
      best: null,
      stoppedEarly: false,
      metrics: {},
      intervals: {},
    };
  }
}

function repeatResult(result: TrainResult, { onEvent }: RunOptions): TrainResult {
  const { steps: step, runFolder, seconds } = result;
  const finalFolder = result.finalFolder!;
  onEvent({ type: 'finished', step, finalFolder });
  onEvent({ type: 'end', step, interrupted: false, runFolder, finalFolder, seconds });
  return result;
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
  /** Of the last step here; 0 before. */
  private stepPairs = 0;
  private step: number;
  private lastCheckpointStep: number | null;
  /** Of the sampler after the last complete step. */
  private position: SamplerState;
  /** Tokens of all completions trained on, each with its prompt, as TRL counts them. */
  private tokensSeen: number;
  private readonly saveTimer: SaveTimer;
  private readonly lossWatch: LossWatch;

  constructor(
    private readonly config: Config,
    private readonly options: RunOptions,
    private readonly run: PreparedRun,
    private readonly startedMs: number,
  ) {
    this.step = run.step;
    this.lastCheckpointStep = run.step === 0 ? null : run.step;
    this.position = run.sampler.state;
    this.tokensSeen = tokensBefore(run);
    this.metrics = run.log?.last ?? {};
    this.saveTimer = new SaveTimer(config.checkpoint.everyMinutes, run.communicator);
    this.lossWatch = new LossWatch(config, run.step, run.totalSteps);
  }

  async finish(): Promise<TrainResult> {
    const { evaluation, logging } = this.config;
    const { communicator, totalSteps, watch } = this.run;
    const { signal } = this.options;
    try {
      if (this.step === 0 && evaluation.atStart) await this.evaluate(signal);
      while (this.step < totalSteps && !watch.isOver) {
        if (communicator.worldSize > 1) await letOthersRun(signal, communicator);
        else signal.throwIfAborted();
        await this.trainStep(logging.everySteps);
        const atEnd = this.step === totalSteps;
        // Not interrupted, so that a resumed run has the record of every evaluation.
        if (isDue(evaluation.everySteps, this.step) || atEnd) await this.evaluate();
        if (this.isBest || atEnd || watch.isOver || this.isSaveDue()) await this.checkpoint();
      }
      if (this.stoppedEarly) this.emit({ type: 'early-stop', step: this.step, best: watch.best });
    } catch (error) {
      if (!wasStopped(error, signal)) throw error;
      await this.checkpoint();
      return this.end(true, null);
    }
    return this.end(false, await this.writeFinalModel());
  }

  private get stoppedEarly(): boolean {
    return this.run.watch.isOver && this.step < this.run.totalSteps;
  }

  /** Whether the evaluation after this step is the best. */
  private get isBest(): boolean {
    return this.run.watch.best?.step === this.step;
  }

  private isSaveDue(): boolean {
    return isDue(this.config.checkpoint.everySteps, this.step) || this.saveTimer.isDue();
  }

  private async trainStep(logEverySteps: number): Promise<void> {
    const { optimizer, schedule } = this.config;
    const epoch =
      this.run.sampler.state.epoch + this.run.sampler.state.position / this.run.sampler.epochPairs;
    const pairs = this.run.sampler
      .next(this.config.training.batchPairs)
      .map(index => this.run.trainPairs[index]!);
    const learningRate = optimizer.learningRate * scheduleFactor(schedule, this.step, this.run.totalSteps);
    let metrics: Record<string, number>;
    this.run.trace?.begin(`step ${this.step + 1}`, 'step');
    try {
      metrics = { ...(await this.run.trainer.step(pairs, learningRate, this.stepSignal)), epoch };
    } catch (error) {
      throw error instanceof RunError ? this.stepError(error, this.step + 1) : error;
    }
    this.run.trace?.end();
    this.run.trace?.collect();
    this.step++;
    this.position = this.run.sampler.state;
    for (const pair of pairs) this.tokensSeen += trainedTokens(pair);
    metrics.num_tokens = this.tokensSeen;
    this.metrics = metrics;
    this.stepPairs = pairs.length;
    if (isDue(logEverySteps, this.step) || this.step === this.run.totalSteps) this.record(metrics);
    this.emit({ type: 'step', step: this.step, totalSteps: this.run.totalSteps, metrics });
    const warning = this.lossWatch.add(this.step, metrics);
    if (warning !== null) this.emit({ type: 'warning', message: warning });
  }

  /** Several ranks stop between steps, where they ask each other. */
  private get stepSignal(): AbortSignal | undefined {
    return this.run.communicator.worldSize > 1 ? undefined : this.options.signal;
  }

  private async evaluate(signal?: AbortSignal): Promise<void> {
    if (this.run.evalPairs.length === 0) return;
    const startMs = performance.now();
    const means = await this.run.trainer.evaluate(
      this.run.evalPairs,
      this.config.evaluation.batchPairs,
      signal,
      pair => this.run.evalGroups.get(pair) ?? null,
    );
    means['time/evaluation_ms'] = performance.now() - startMs;
    const metrics = Object.fromEntries(Object.entries(means).map(([name, value]) => [`eval_${name}`, value]));
    this.metrics = metrics;
    if (this.step > 0) this.run.watch.add(this.step, metrics);
    this.record(metrics);
    this.emit({ type: 'evaluate', step: this.step, metrics, intervals: this.intervals });
  }

  /** Of the accuracies in `metrics`; none where a resumed run has done no step, whose pairs it could count. */
  private get intervals(): Record<string, ShareInterval> {
    const pairs =
      'eval_loss' in this.metrics ? (this.run.sources.evaluation?.pairs.length ?? 0) : this.stepPairs;
    return pairs === 0
      ? {}
      : accuracyIntervals(this.metrics, name => pairsOfAccuracy(name, this.run.evalGroups, pairs));
  }

  private record(metrics: Readonly<Record<string, number>>): void {
    this.run.log?.write({ step: this.step, ...metrics });
    this.run.tensorboard?.write(this.step, metrics);
  }

  private async checkpoint(): Promise<void> {
    // Step 0 is the initial model, from which a run without checkpoints starts anyway.
    if (this.step === 0 || this.lastCheckpointStep === this.step) return;
    const { config, run } = this;
    const folder = checkpointFolder(config.output.folder, this.step);
    // What it says of the steps before must not be lost when the checkpoint is not.
    await run.log?.flush();
    try {
      await writeFolderTogether(folder, run.communicator, async temporary => {
        await this.fillCheckpoint(temporary);
        await recordFolder(config.output.folder, run.communicator.rank, folder, temporary);
      });
    } catch (error) {
      throw error instanceof NotFiniteError ? this.stepError(error, this.step) : error;
    }
    const best = run.watch.best?.step ?? null;
    await pruneCheckpoints(config.output.folder, config.checkpoint.keepLast, best, run.communicator);
    this.lastCheckpointStep = this.step;
    this.saveTimer.restart();
    this.emit({ type: 'checkpoint', step: this.step, folder, best: this.isBest });
  }

  private async fillCheckpoint(folder: string): Promise<void> {
    const { communicator, inputs, sources, trainer, watch } = this.run;
    const state: TrainerState = { step: this.step, sampler: this.position, ...watch.state };
    const digests = await saveTrainerState(
      folder,
      trainer.model,
      trainer.optimizer,
      state,
      sources.companions,
    );
    if (communicator.rank === 0) await writeInputs(folder, inputs);
    await writeChecksums(folder, digests, communicator);
  }

  private async writeFinalModel(): Promise<string> {
    const folder = join(this.config.output.folder, 'final');
    const { modelFolder, companions, reports } = this.run.sources;
    if (this.finalStep !== this.step) await this.loadBest(this.finalStep);
    if (this.run.communicator.rank > 0) {
      await saveModel(this.run.trainer.model, folder, companions);
      return folder;
    }
    await writeFolder(folder, async temporary => {
      await saveModel(this.run.trainer.model, temporary, companions);
      await writeModelCard(temporary, {
        config: this.config,
        modelFolder,
        baseCard: companions.card,
        reports,
        trainPairs: this.run.trainPairs.length,
        steps: this.finalStep,
        metrics: this.metrics,
        intervals: this.intervals,
        seconds: (performance.now() - this.startedMs) / 1000,
      });
      await recordFolder(this.config.output.folder, 0, folder, temporary);
    });
    return folder;
  }

  /** The step whose weights final/ gets. */
  private get finalStep(): number {
    const { best } = this.run.watch;
    return this.config.output.model === 'best' && best !== null ? best.step : this.step;
  }

  /** Puts the weights of the best checkpoint into the model, which is not trained any more. */
  private async loadBest(step: number): Promise<void> {
    const { communicator, trainer } = this.run;
    const { folder: runFolder } = this.config.output;
    const folder = checkpointFolder(runFolder, step);
    await verifyCheckpoint(folder, communicator);
    await loadWeights(trainer.model, folder);
    if (communicator.rank > 0) return;
    const records = await readMetrics(join(runFolder, 'metrics.jsonl'));
    const { metric } = this.run.watch.best!;
    this.metrics = withoutPlace(records.find(record => record.step === step && metric in record) ?? { step });
  }

  /** The last of every run, however it ends; all ranks get here. */
  private async end(interrupted: boolean, finalFolder: string | null): Promise<TrainResult> {
    const { trace: file } = this.options;
    if (file !== null) {
      const overlap = await this.run.trace!.write(file);
      this.emit({ type: 'trace', step: this.step, file, ...overlap });
    }
    // A rank that went ahead would not hear of a signal, nor could it say that it has failed.
    this.run.communicator.exchange(null);
    const seconds = (performance.now() - this.startedMs) / 1000;
    const runFolder = this.config.output.folder;
    const result: TrainResult = {
      runFolder,
      finalFolder,
      steps: this.step,
      finalStep: interrupted ? null : this.finalStep,
      best: this.run.watch.best,
      stoppedEarly: !interrupted && this.stoppedEarly,
      interrupted,
      metrics: this.metrics,
      intervals: this.intervals,
      seconds,
    };
    if (!interrupted && this.run.communicator.rank === 0) await writeResult(result);
    this.emit({ type: 'end', step: this.step, interrupted, runFolder, finalFolder, seconds });
    return result;
  }

  private stepError(error: RunError, step: number): RunError {
    const last =
      this.lastCheckpointStep === null
        ? 'There is no checkpoint yet.'
        : `The last good checkpoint is ${checkpointFolder(this.config.output.folder, this.lastCheckpointStep)}.`;
    return new RunError(`Step ${step}: ${error.message} ${last}`, {
      hint: 'Lower optimizer.learningRate or training.maxGradNorm, or use training.dtype f32.',
      cause: error,
    });
  }

  private emit(event: TrainEvent): void {
    this.options.onEvent(event);
  }
}

const isDue = (everySteps: number | null, step: number): boolean =>
  everySteps !== null && step % everySteps === 0;
