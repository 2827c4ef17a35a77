/** From which checkpoint a run goes on, and under which settings it may. */
import { readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Communicator } from '@sralign/native';
import { parse } from 'yaml';
import { z } from 'zod';
import { verifyCheckpoint } from '../checkpoint/checksums.js';
import { checkpointFolder, latestCheckpoint, listCheckpoints } from '../checkpoint/run-folder.js';
import { parseConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { CheckpointError } from '../errors.js';
import { exists, systemErrorCode, writeFileAtomic } from '../files.js';
import type { TrainResult } from './events.js';
import { checkInputs, type RunInputs } from './inputs.js';
import { readTrainerState, type TrainerState } from './state.js';

export interface ResumedFrom {
  readonly folder: string;
  readonly state: TrainerState;
}

/**
 * Whether the run in output.folder may go on under these settings, as the first rank sees it.
 *
 * @returns the result of a run that is finished, or null
 * @throws CheckpointError when it was started with other settings, or they cannot be read
 */
export async function checkRun(config: Config, communicator: Communicator): Promise<TrainResult | null> {
  const found = communicator.rank === 0 ? await readRun(config) : null;
  return communicator.exchange(found)[0] ?? null;
}

async function readRun(config: Config): Promise<TrainResult | null> {
  const folder = config.output.folder;
  const file = join(folder, 'config.yaml');
  const text = await readFile(file, 'utf8').catch((cause: Error) => {
    if (systemErrorCode(cause) === 'ENOENT') return null;
    throw new CheckpointError(`It cannot be read (${cause.message}).`, { file, cause });
  });
  if (text === null) {
    // Killed before its first file, or never started.
    if ((await listCheckpoints(folder)).length === 0) return null;
    throw new CheckpointError('The configuration of the run is missing.', { file, hint: PUT_BACK });
  }
  const before = parseConfig(parseSaved(text, file), file);
  checkResumable(before, config, file);
  const finished = await readResult(folder);
  if (finished === null || !(await exists(join(folder, 'final', 'config.json')))) return null;
  const same = ENDING.every(path => isDeepStrictEqual(settingOf(before, path), settingOf(config, path)));
  return same ? finished : null;
}

const PUT_BACK = 'Put the configuration that the run was started with in its place.';

/**
 * The newest checkpoint of the run in output.folder, as the first rank sees it, with all of its files as they were
 * written; null when there is none yet.
 *
 * @param inputs of the run as it is now
 * @throws CheckpointError when a file of the checkpoint is damaged, or the inputs are others
 */
export async function findCheckpoint(
  config: Config,
  inputs: RunInputs,
  communicator: Communicator,
): Promise<ResumedFrom | null> {
  const first = communicator.rank === 0;
  const latest = first ? await latestCheckpoint(config.output.folder) : null;
  const folder = communicator.exchange(latest?.folder ?? null)[0] ?? null;
  if (folder === null) return null;
  await verifyCheckpoint(folder, communicator);
  const own = first ? await readState(config, folder, inputs) : null;
  return { folder, state: communicator.exchange(own)[0]! };
}

async function readState(config: Config, folder: string, inputs: RunInputs): Promise<TrainerState> {
  const state = await readTrainerState(folder);
  const { output, checkpoint } = config;
  if (basename(folder) !== basename(checkpointFolder(output.folder, state.step))) {
    throw new CheckpointError(`This is the checkpoint of step ${state.step}, under another name.`, {
      file: folder,
      hint: `Give it back its name, ${basename(checkpointFolder(output.folder, state.step))}.`,
    });
  }
  const ownTemplate = config.tokens.chatTemplate === null;
  await checkInputs(folder, inputs, ownTemplate ? 'model.tokenizer' : 'tokens.chatTemplate');
  const best = state.best?.metric === checkpoint.keepBest ? state.best : null;
  if (best !== null && !(await exists(checkpointFolder(output.folder, best.step)))) {
    throw new CheckpointError(`The best checkpoint, which was that of step ${best.step}, is missing.`, {
      file: checkpointFolder(output.folder, best.step),
      hint: 'Put it back, or go on without: --set checkpoint.keepBest=null.',
    });
  }
  return state;
}

const RESULT_FILE = 'result.json';

const resultSchema = z.looseObject({
  runFolder: z.string(),
  finalFolder: z.string(),
  finalStep: z.int(),
  steps: z.int(),
  best: z.object({}).loose().nullable(),
  stoppedEarly: z.boolean(),
  interrupted: z.literal(false),
  metrics: z.record(z.string(), z.number()),
  intervals: z.record(z.string(), z.looseObject({ low: z.number(), high: z.number() })),
  seconds: z.number(),
});

/** Keeps what a finished run has come to. @throws RunError when the disk refuses */
export const writeResult = (result: TrainResult): Promise<void> =>
  writeFileAtomic(join(result.runFolder, RESULT_FILE), `${JSON.stringify(result, null, 2)}\n`);

/** Forgets it: the run goes on. */
export const removeResult = (folder: string): Promise<void> => rm(join(folder, RESULT_FILE), { force: true });

/** Null where there is none that can be read: the end of the run, which can be done again, is then still to come. */
async function readResult(folder: string): Promise<TrainResult | null> {
  const text = await readFile(join(folder, RESULT_FILE), 'utf8').catch(() => null);
  if (text === null) return null;
  try {
    const result = JSON.parse(text);
    if (!resultSchema.safeParse(result).success) return null;
    return { ...result, runFolder: folder, finalFolder: join(folder, 'final') };
  } catch {
    return null;
  }
}

function parseSaved(text: string, file: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    throw new CheckpointError(`The configuration of the run is damaged: ${(cause as Error).message}`, {
      file,
      cause,
      hint: PUT_BACK,
    });
  }
}

/** Sections and keys that may change between a run and its continuation: they do not alter the steps that both do. */
const CHANGEABLE: readonly string[] = [
  ...['output', 'logging', 'checkpoint', 'evaluation'],
  ...['data.cacheFolder', 'reference.cacheFolder', 'reference.verifyPairs'],
  ...[
    'training.device',
    'training.threads',
    'training.memoryCheck',
    'training.activationCheckpointing',
    'training.sharding',
  ],
];

/** The end of the run, towards which a learning rate that is not constant falls. */
const LENGTH: readonly string[] = ['training.maxSteps', 'training.epochs'];

/** What decides when a run is finished, and what it leaves then. */
const ENDING: readonly string[] = [
  ...LENGTH,
  ...['evaluation.patience', 'checkpoint.keepBest', 'output.model'],
];

function settingOf(config: Config, path: string): unknown {
  const [section, key] = path.split('.') as [keyof Config, string];
  return (config[section] as Record<string, unknown>)[key];
}

/**
 * Refuses to resume under settings that would make another run of it.
 *
 * @param before the run's config.yaml
 * @throws CheckpointError naming the first key that differs
 */
function checkResumable(before: Config, config: Config, file: string): void {
  for (const [section, values] of Object.entries(config)) {
    const paths =
      typeof values === 'object' ? Object.keys(values).map(key => `${section}.${key}`) : [section];
    for (const path of paths) {
      if (CHANGEABLE.includes(section) || CHANGEABLE.includes(path)) continue;
      if (LENGTH.includes(path) && config.schedule.name === 'constant') continue;
      const [was, is] =
        path === section ? [before.method, values] : [before, config].map(of => settingOf(of, path));
      if (isDeepStrictEqual(was, is)) continue;
      throw new CheckpointError(
        `The run was started with ${JSON.stringify(was)}, but now it is ${JSON.stringify(is)}.`,
        {
          file,
          field: path,
          hint: 'Resume with the settings of the run, or start a new one in another output.folder.',
        },
      );
    }
  }
}
