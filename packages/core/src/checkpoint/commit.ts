/** Folders that are complete as soon as they have their name, whenever a writer is killed. */
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Communicator } from '@sralign/native';
import { RunError } from '../errors.js';
import { diskError, flush, systemErrorCode, TEMPORARY_NAME, temporaryName } from '../files.js';

/**
 * Lets `fill` write a folder under a temporary name, flushes all of it to the disk and renames it to `folder`. An older
 * folder of that name is replaced; between the two renames neither is there, so what must survive gets a new name.
 *
 * @throws RunError when the disk refuses; whatever `fill` throws. Nothing is left behind then.
 */
export async function writeFolder(
  folder: string,
  fill: (temporaryFolder: string) => Promise<void>,
): Promise<void> {
  const temporary = temporaryName(folder);
  try {
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { recursive: true });
    await fill(temporary);
    await flushTree(temporary);
    await removeFolder(folder);
    await rename(temporary, folder);
    await flush(dirname(folder));
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    throw diskError(error, folder);
  }
}

/**
 * The same for a folder that all ranks write into, each its own files: it gets its name when all have written. An older
 * folder of that name is deleted first.
 *
 * Hosts may share the file system or not. Each file system gets a folder with what its ranks wrote, and none when they wrote
 * nothing. Whoever renames first does it for all who see the same folder; the first rank's turn is last, so that a folder
 * that it finds there is there on all hosts.
 *
 * A rank that fails throws, and the others wait for it until its failure ends the job; the temporary folder stays.
 *
 * @throws RunError when the disk refuses; whatever `fill` throws
 */
export async function writeFolderTogether(
  folder: string,
  communicator: Communicator,
  fill: (temporaryFolder: string) => Promise<void>,
): Promise<void> {
  if (communicator.worldSize === 1) return writeFolder(folder, fill);
  const first = communicator.rank === 0;
  const [name] = communicator.exchange(basename(temporaryName(folder)));
  const temporary = join(dirname(folder), name!);
  try {
    await rm(temporary, { recursive: true, force: true });
    await removeFolder(folder);
    communicator.exchange(null);
    await mkdir(temporary, { recursive: true });
    await fill(temporary);
    await flushTree(temporary);
    communicator.exchange(null);
    let named = first ? false : await giveName(temporary, folder);
    communicator.exchange(null);
    if (first) named = await giveName(temporary, folder);
    if (communicator.exchange(named).includes(true)) return;
  } catch (error) {
    throw diskError(error, folder);
  }
  throw new RunError('No rank wrote anything into it, or its temporary folder has gone.', { file: folder });
}

/** Whether it was this rank that gave a temporary folder its name: not when another did, or when it is empty. */
async function giveName(temporary: string, folder: string): Promise<boolean> {
  try {
    await rmdir(temporary);
    return false;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
  }
  try {
    await rename(temporary, folder);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  }
  await flush(dirname(folder));
  return true;
}

/** Deletes a folder, if it is there. It loses its name first, so that a kill never leaves half of it under it. */
export async function removeFolder(folder: string): Promise<void> {
  const doomed = temporaryName(`${folder}-old`);
  await rm(doomed, { recursive: true, force: true });
  try {
    await rename(folder, doomed);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw error;
  }
  await rm(doomed, { recursive: true, force: true });
}

/** What other ranks have not finished they flush themselves. */
async function flushTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (TEMPORARY_NAME.test(entry.name)) continue;
    const path = join(folder, entry.name);
    await (entry.isDirectory() ? flushTree(path) : flush(path));
  }
  await flush(folder);
}
