/** Folders that are complete as soon as they have their name, whenever their writer is killed. */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { diskError, flush, systemErrorCode, temporaryName } from '../files.js';

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
  await rm(doomed, { recursive: true });
}

async function flushTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    await (entry.isDirectory() ? flushTree(path) : flush(path));
  }
  await flush(folder);
}
