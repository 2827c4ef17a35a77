/**
 * The folder of a run:
 *
 *   config.yaml  metrics.jsonl  runs/ (TensorBoard)  reference-cache/  checkpoints/step-000100/ ...  final/
 */
import { access, constants, mkdir, readdir, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Communicator } from '@sralign/native';
import { CheckpointError } from '../errors.js';
import { exists, removeLeftovers, systemErrorCode, TEMPORARY_NAME } from '../files.js';
import { removeFolder } from './commit.js';

/** What tells that a folder holds a run. */
const MARKS: readonly string[] = ['config.yaml', 'metrics.jsonl', 'checkpoints'];

/** What a run writes. config.yaml goes first: a run that is half deleted cannot be resumed. */
const WRITTEN = [
  ...[
    'config.yaml',
    'metrics.jsonl',
    'checkpoints',
    'final',
    'runs',
    'reference-cache',
    'result.json',
    'clock.json',
  ],
];

/** `checkpoint-123` is the name other trainers use: theirs are not ours to resume or to delete. */
const CHECKPOINT_NAME = /^step-(\d{6,})$/;

export interface RunFolderMode {
  /** Go on with the run that is there, if one is. */
  readonly resume: boolean;
  /** Replace the run that is there; files that sralign did not write stay. */
  readonly overwrite: boolean;
}

export interface Checkpoint {
  /** Optimizer steps done. */
  readonly step: number;
  readonly folder: string;
}

/**
 * Checks, without writing, that a run may go into a folder.
 *
 * @throws CheckpointError when the folder holds a run (without resume or overwrite) or other files (without overwrite),
 *   or cannot be written
 */
export async function checkRunFolder(folder: string, mode: RunFolderMode): Promise<void> {
  const names = (await readNames(folder)).filter(name => !TEMPORARY_NAME.test(name));
  const holdsRun = names.some(name => MARKS.includes(name));
  if (!mode.resume && !mode.overwrite && holdsRun) {
    throw folderError(
      folder,
      'The output folder already holds a run.',
      'Go on with it by --resume, replace it by --overwrite, or choose another output.folder.',
    );
  }
  if (!holdsRun && !mode.overwrite && names.length > 0) {
    throw folderError(
      folder,
      `The output folder is not empty: it holds "${names[0]}".`,
      'Choose another output.folder, or use --overwrite, which leaves alone what sralign did not write.',
    );
  }
  await access(await nearestFolder(folder), constants.W_OK | constants.X_OK).catch(error => {
    throw notWritable(folder, error);
  });
}

/**
 * Makes a folder that was checked ready: created, emptied of the old run for `overwrite`, and free of what killed
 * writers left.
 *
 * @throws CheckpointError when it cannot be written
 */
export async function createRunFolder(folder: string, mode: { readonly overwrite: boolean }): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    for (const name of mode.overwrite ? WRITTEN : []) {
      await rm(join(folder, name), { recursive: true, force: true });
    }
    await mkdir(join(folder, 'checkpoints'), { recursive: true });
    await removeLeftovers(folder);
    await removeLeftovers(join(folder, 'checkpoints'));
  } catch (error) {
    throw notWritable(folder, error);
  }
}

/** Where the checkpoint of a step is: `<run>/checkpoints/step-000100`. */
export function checkpointFolder(runFolder: string, step: number): string {
  return join(runFolder, 'checkpoints', `step-${String(step).padStart(6, '0')}`);
}

/** The complete checkpoints of a run, oldest first. */
export async function listCheckpoints(runFolder: string): Promise<Checkpoint[]> {
  const parent = join(runFolder, 'checkpoints');
  return (await readNames(parent))
    .flatMap(name => {
      const match = CHECKPOINT_NAME.exec(name);
      return match === null ? [] : [{ step: Number(match[1]), folder: join(parent, name) }];
    })
    .sort((a, b) => a.step - b.step);
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
