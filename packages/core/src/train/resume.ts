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

/** Settings that may change between a run and its continuation: they do not alter the steps that both do. */
const CHANGEABLE: readonly string[] = ['output', 'logging', 'checkpoint', 'evaluation', 'reference'];
const CHANGEABLE_TRAINING: readonly string[] = [
  ...['maxSteps', 'epochs', 'device', 'threads', 'activationCheckpointing', 'sharding'],
];

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
    if (CHANGEABLE.includes(section)) continue;
    const keys = typeof now[section] === 'object' ? Object.keys(now[section]) : [null];
    for (const key of keys) {
      if (section === 'training' && key !== null && CHANGEABLE_TRAINING.includes(key)) continue;
      const was = key === null ? before[section] : before[section]?.[key];
      const is = key === null ? now[section] : now[section]![key];
      if (isDeepStrictEqual(was, is)) continue;
      throw new CheckpointError(
        `The run was started with ${JSON.stringify(was)}, but now it is ${JSON.stringify(is)}.`,
        {
          file,
          field: key === null ? section : `${section}.${key}`,
          hint: 'Resume with the settings of the run, or start a new one in another output.folder.',
        },
      );
    }
  }
}
