/** A save before there is anything to save: whether the disk takes the files that a run will write. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { reserveBytes } from '@sralign/native';
import { diskError, temporaryName } from '../files.js';

/** A file that is going to be written. */
export interface PlannedFile {
  readonly name: string;
  readonly bytes: number;
}

/** Contents up to here are written; what is beyond is reserved. */
const WRITTEN_BYTES = 64 * 2 ** 20;

/** Random, so that no file system makes it smaller. */
const NOISE = randomBytes(2 ** 20);

/**
 * Creates the files of a folder beside those of `parent`, all of them at once, and removes them.
 *
 * @param parent exists
 * @param reserve false: contents beyond WRITTEN_BYTES are left out
 * @throws RunError when the disk refuses
 */
export async function rehearseFolder(
  parent: string,
  files: readonly PlannedFile[],
  reserve: boolean,
): Promise<void> {
  const folder = temporaryName(join(parent, 'rehearsal'));
  try {
    await mkdir(folder, { recursive: true });
    for (const { name, bytes } of files) await rehearseFile(join(folder, name), bytes, reserve);
  } catch (error) {
    throw diskError(error, folder);
  } finally {
    await rm(folder, { recursive: true, force: true }).catch(() => {});
  }
}

async function rehearseFile(file: string, bytes: number, reserve: boolean): Promise<void> {
  await using handle = await open(file, 'wx');
  for (let left = Math.min(bytes, WRITTEN_BYTES); left > 0; left -= NOISE.length) {
    await handle.writeFile(NOISE.subarray(0, left));
  }
  if (reserve && bytes > WRITTEN_BYTES) reserveBytes(handle.fd, bytes);
  await handle.sync();
}

/** What a user may still write on the disk of a folder that exists. */
export async function freeDiskBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
