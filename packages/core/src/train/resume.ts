/** From which checkpoint a run goes on, and under which settings it may. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Communicator } from '@sralign/native';
import { parse } from 'yaml';
import { latestCheckpoint } from '../checkpoint/run-folder.js';
import { parseConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { CheckpointError } from '../errors.js';
import { systemErrorCode } from '../files.js';
import { readTrainerState, type TrainerState } from './state.js';

export interface ResumedFrom {
  readonly folder: string;
  readonly state: TrainerState;
}

/**
 * The newest checkpoint of the run in output.folder, as the first rank sees it; null when it has none yet.
 *
 * @throws CheckpointError when there is no run, it was started with other settings, or the checkpoint is damaged
 */
export async function findCheckpoint(
  config: Config,
  communicator: Communicator,
): Promise<ResumedFrom | null> {
  const found = communicator.rank === 0 ? await readCheckpoint(config) : null;
  return communicator.exchange(found)[0] ?? null;
}

async function readCheckpoint(config: Config): Promise<ResumedFrom | null> {
  const folder = config.output.folder;
  const file = join(folder, 'config.yaml');
  const saved = await readFile(file, 'utf8').catch((cause: Error) => {
    const none = systemErrorCode(cause) === 'ENOENT';
    throw none
      ? new CheckpointError('There is no run to resume in this folder.', {
          file: folder,
          field: 'output.folder',
          hint: 'Start it without --resume.',
        })
      : new CheckpointError(`It cannot be read (${cause.message}).`, { file, cause });
  });
  checkResumable(parseSaved(saved, file), config, file);
  const checkpoint = await latestCheckpoint(folder);
  return checkpoint && { folder: checkpoint.folder, state: await readTrainerState(checkpoint.folder) };
}

function parseSaved(text: string, file: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    throw new CheckpointError(`The configuration of the run is damaged: ${(cause as Error).message}`, {
      file,
      cause,
      hint: 'Put the configuration that the run was started with in its place.',
    });
  }
}

/** Sections and keys that may change between a run and its continuation: they do not alter the steps that both do. */
const CHANGEABLE: readonly string[] = [
  ...['output', 'logging', 'checkpoint', 'evaluation'],
  ...['reference.cacheFolder', 'reference.verifyPairs'],
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

/**
 * Refuses to resume under settings that would make another run of it.
 *
 * @param saved the run's config.yaml, parsed
 * @throws CheckpointError naming the first key that differs
 */
function checkResumable(saved: unknown, config: Config, file: string): void {
  const before = parseConfig(saved, file) as unknown as Record<string, Record<string, unknown>>;
  const now = config as unknown as Record<string, Record<string, unknown>>;
  for (const section of Object.keys(now)) {
    const keys = typeof now[section] === 'object' ? Object.keys(now[section]) : [null];
    for (const key of keys) {
      const path = key === null ? section : `${section}.${key}`;
      if (CHANGEABLE.includes(section) || CHANGEABLE.includes(path)) continue;
      if (LENGTH.includes(path) && config.schedule.name === 'constant') continue;
      const was = key === null ? before[section] : before[section]?.[key];
      const is = key === null ? now[section] : now[section]![key];
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
