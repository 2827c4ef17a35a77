/**
 * The folder of a run:
 *
 *   config.yaml  metrics.jsonl  events.out.tfevents.* (TensorBoard)  reference-cache/  checkpoints/step-000100/ ...  final/
 *   .sralign/ (what of this the run has written, and who is writing: run-record.ts, run-lock.ts)
 */
import { access, constants, lstat, mkdir, readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Communicator } from '@sralign/native';
import { CheckpointError } from '../errors.js';
import { exists, removeLeftovers, systemErrorCode, TEMPORARY_NAME } from '../files.js';
import { CHECKPOINT_NAME, type Checkpoint, checkpointFolder, listCheckpoints } from '../hf/run-models.js';
import { removeFolder } from './commit.js';
import {
  deleteRecorded,
  RUN_RECORD_FOLDER,
  type RunRecord,
  readRecord,
  recordFiles,
  startRecord,
} from './run-record.js';

export { type Checkpoint, checkpointFolder, listCheckpoints };

/** Files that a run writes on top, and would write over. */
const FILES: readonly string[] = ['config.yaml', 'metrics.jsonl', 'result.json', 'clock.json'];

/** What a start makes before it writes config.yaml: empty, or not worth keeping by itself. */
const PREPARED: readonly string[] = ['checkpoints', 'reference-cache', 'clock.json'];

export interface RunFolderMode {
  /** Go on with the run that is there, if one is. */
  readonly resume: boolean;
  /** Replace the run that is there; files that sralign did not write stay. */
  readonly overwrite: boolean;
}

/**
 * Checks, without writing, that a run may go into a folder.
 *
 * @throws CheckpointError when the folder holds a run (without resume or overwrite), something that would be lost although
 *   no run of sralign has written it, or other files (without overwrite); or when it cannot be written
 */
export async function checkRunFolder(folder: string, mode: RunFolderMode): Promise<void> {
  const names = (await readNames(folder)).filter(
    name => !TEMPORARY_NAME.test(name) && name !== RUN_RECORD_FOLDER,
  );
  const record = await readRecord(folder);
  const written = await runParts(folder);
  const parts = written.filter(part => !PREPARED.includes(part));
  const own = [...FILES, 'final', ...(record === null ? [] : PREPARED)];
  const others = names.filter(name => !own.includes(name));
  if (!mode.resume && !mode.overwrite && parts.length > 0) {
    throw folderError(
      folder,
      record === null
        ? `The output folder already holds "${parts[0]}".`
        : 'The output folder already holds a run.',
      record === null
        ? 'Choose another output.folder. A run of an earlier version of sralign goes on by --resume.'
        : 'Go on with it by --resume, replace it by --overwrite, or choose another output.folder.',
    );
  }
  if (parts.length === 0 && !mode.overwrite && others.length > 0) {
    throw folderError(
      folder,
      `The output folder is not empty: it holds "${others[0]}".`,
      'Choose another output.folder, or use --overwrite, which leaves alone what sralign did not write.',
    );
  }
  await checkNothingIsLost(folder, written, record, mode);
  await access(await nearestFolder(folder), constants.W_OK | constants.X_OK).catch(error => {
    throw notWritable(folder, error);
  });
}

/** What a run would write over must be on record as a run's. */
async function checkNothingIsLost(
  folder: string,
  parts: readonly string[],
  record: RunRecord | null,
  mode: RunFolderMode,
): Promise<void> {
  const replaced = mode.resume ? parts.filter(part => part.startsWith('final/')) : parts;
  // The final model of a run of an earlier version, which kept no record, is replaced when the run goes on.
  if (mode.resume && record === null) return;
  const foreign = replaced.find(part => record === null || !record.has(part));
  if (foreign === undefined) return;
  throw folderError(
    folder,
    `The output folder holds "${foreign}", which would be lost: ${
      record === null
        ? 'there is no record of a run in this folder'
        : 'the run in this folder did not write it'
    }.`,
    `Move or delete it, or choose another output.folder. What a run has written is on record in ${RUN_RECORD_FOLDER}.`,
  );
}

/** The files, links and folders there that a run replaces, relative to its folder. */
async function runParts(folder: string): Promise<string[]> {
  const parts: string[] = [];
  for (const name of FILES) if (await isThere(join(folder, name))) parts.push(name);
  for (const name of await stepNames(join(folder, 'checkpoints'))) {
    parts.push(...(await entries(folder, join('checkpoints', name))));
  }
  return [...parts, ...(await entries(folder, 'final'))];
}

/** What is in a folder of a run's folder; itself where it is something else. */
async function entries(runFolder: string, place: string): Promise<string[]> {
  const found = await lstat(join(runFolder, place)).catch(() => null);
  if (found === null) return [];
  if (!found.isDirectory()) return [place];
  return (await readNames(join(runFolder, place))).map(name => join(place, name));
}

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

const stepNames = async (folder: string): Promise<string[]> =>
  (await isThere(folder)) ? (await readNames(folder)).filter(name => CHECKPOINT_NAME.test(name)) : [];

/**
 * Makes a folder that was checked ready: created, emptied of the old run for `overwrite`, and free of what killed
 * writers left.
 *
 * @param rank of those who call it, one on every host
 * @throws CheckpointError when it cannot be written
 */
export async function createRunFolder(
  folder: string,
  mode: { readonly overwrite: boolean },
  rank: number,
): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    const record = mode.overwrite ? await readRecord(folder) : null;
    if (record !== null) await deleteRecorded(folder, record);
    await startRecord(folder);
    const ownCache = !(await isThere(join(folder, 'reference-cache')));
    await recordFiles(folder, rank, [...FILES, ...(ownCache ? ['reference-cache/'] : [])]);
    await mkdir(join(folder, 'checkpoints'), { recursive: true });
    for (const place of ['', 'checkpoints', 'reference-cache', RUN_RECORD_FOLDER]) {
      await removeLeftovers(join(folder, place));
    }
  } catch (error) {
    throw notWritable(folder, error);
  }
}

/** The newest complete checkpoint of a run, or null. */
export async function latestCheckpoint(runFolder: string): Promise<Checkpoint | null> {
  return (await listCheckpoints(runFolder)).at(-1) ?? null;
}

/**
 * Deletes all but the newest `keepLast` (at least 1) checkpoints, so never one that nothing newer replaces. All ranks call
 * it, for hosts that do not share their files; the first says which stay.
 *
 * @param best the step of one that stays however old it is, or null
 */
export async function pruneCheckpoints(
  runFolder: string,
  keepLast: number | 'all',
  best: number | null,
  communicator: Pick<Communicator, 'exchange'>,
): Promise<void> {
  const checkpoints = await listCheckpoints(runFolder);
  const newest = keepLast === 'all' ? checkpoints : checkpoints.slice(-keepLast);
  const [kept] = communicator.exchange([...newest.map(({ step }) => step), best]);
  for (const { step, folder } of checkpoints) if (!kept!.includes(step)) await removeFolder(folder);
}

/** The names in a folder; one that does not exist has none. */
async function readNames(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw notWritable(folder, error);
  }
}

/** The folder itself, or the nearest parent that exists. */
async function nearestFolder(path: string): Promise<string> {
  return (await exists(path, CheckpointError)) ? path : nearestFolder(dirname(resolve(path)));
}

const notWritable = (folder: string, error: unknown): CheckpointError =>
  folderError(
    folder,
    `The output folder cannot be used (${(error as Error).message}).`,
    'Choose another output.folder, or change its permissions.',
    error,
  );

function folderError(folder: string, message: string, hint: string, cause?: unknown): CheckpointError {
  return new CheckpointError(message, { file: folder, field: 'output.folder', hint, cause });
}
