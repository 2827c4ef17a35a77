/**
 * Files that exist whole or not at all: written under a temporary name beside the target, flushed to the disk, then
 * renamed. A killed writer leaves only a `.tmp-*` entry behind.
 */
import { createHash, randomInt } from 'node:crypto';
import { appendFileSync, createReadStream, existsSync, mkdirSync, type Stats, statSync } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type ErrorDetails, RunError, type SralignError } from './errors.js';

/** What `temporaryName` makes, and nothing a user would. */
export const TEMPORARY_NAME = /^\.tmp-.+-\d+$/;

/** Distinguishes processes of several hosts that share a file system. */
const WRITER = `${process.pid}${randomInt(1_000_000_000)}`;

/** Where a file or folder is written before it gets its name: `.tmp-<name>-<number of the process>` in the same folder. */
export function temporaryName(target: string): string {
  return join(dirname(target), `.tmp-${basename(target)}-${WRITER}`);
}

/**
 * Makes a folder and those above it that are missing. `mkdir` of Node.js with `recursive` does not return where a file system
 * says ENOENT to a folder in one that is there, as /proc does.
 *
 * @returns the first that was missing, or undefined
 * @throws the system's error when one cannot be made, or stands for something else
 */
export function makeFolder(folder: string): string | undefined {
  const missing: string[] = [];
  for (let place = resolve(folder); !existsSync(place) && place !== dirname(place); place = dirname(place))
    missing.unshift(place);
  for (const place of missing) {
    try {
      mkdirSync(place);
    } catch (error) {
      // Another process may have been faster.
      if (!isFolder(place)) throw error;
    }
  }
  if (!isFolder(folder)) mkdirSync(folder);
  return missing[0];
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

/**
 * Writes a file in one piece.
 *
 * @throws RunError when the disk refuses
 */
export function writeFileAtomic(file: string, data: string | Uint8Array): Promise<void> {
  return streamFileAtomic(file, handle => handle.writeFile(data));
}

/**
 * Lets `fill` write a file through a handle; the file appears when `fill` is done.
 *
 * @throws RunError when the disk refuses; whatever `fill` throws
 */
export async function streamFileAtomic(
  file: string,
  fill: (handle: FileHandle) => Promise<void>,
): Promise<void> {
  const temporary = temporaryName(file);
  try {
    await using handle = await open(temporary, 'w');
    await fill(handle);
    await handle.sync();
    await rename(temporary, file);
    await flush(dirname(file));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw diskError(error, file);
  }
}

/**
 * Adds to the end of a file at once: a kill of the process cannot undo it.
 *
 * @throws RunError when the disk refuses
 */
export function appendToFile(file: string, data: string | Uint8Array): void {
  try {
    appendFileSync(file, data);
  } catch (error) {
    throw diskError(error, file);
  }
}

/** What tells a file from any other. */
export interface FileDigest {
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** Reads a file to its end. @throws a system error when it cannot be read */
export async function digestFile(file: string): Promise<FileDigest> {
  const hash = createHash('sha256');
  let bytes = 0;
  await pipeline(createReadStream(file, { highWaterMark: 2 ** 20 }), async chunks => {
    for await (const chunk of chunks as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
  });
  return { bytes, sha256: hash.digest('hex') };
}

/** Makes the contents of a file, or the names in a folder, survive a power cut. */
export async function flush(path: string): Promise<void> {
  await using handle = await open(path, 'r');
  await handle.sync();
}

/** Deletes what killed writers left in a folder; a folder that does not exist holds nothing. */
export async function removeLeftovers(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter(name => TEMPORARY_NAME.test(name))) {
    await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** The class of error that says what a file is to its reader: ModelError, DataError, CheckpointError. */
export type ErrorClass = new (message: string, details: ErrorDetails) => SralignError;

/**
 * What is there under a name, links followed; null when nothing is.
 *
 * @throws `Failure` when a link on the way leads nowhere or in a circle, or a folder may not be looked into: what cannot be
 *   seen is not absent
 */
export async function look(path: string, Failure: ErrorClass): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code !== 'ENOENT' && code !== 'ENOTDIR') {
      throw new Failure(`It cannot be looked at (${(cause as Error).message}).`, { file: path, cause });
    }
    const link = await brokenLink(path);
    if (link === null) return null;
    throw new Failure('This link leads to nothing.', {
      file: link,
      hint: 'Restore what it points to, or delete the link.',
    });
  }
}

/** The link because of which a path leads to nothing; null when there is nothing of its name. */
async function brokenLink(path: string): Promise<string | null> {
  const found = await lstat(path).catch(() => null);
  if (found !== null) return found.isSymbolicLink() ? path : null;
  const parent = dirname(resolve(path));
  return parent === resolve(path) ? null : brokenLink(parent);
}

/** Whether there is a file or folder of this name. @throws as `look` */
export async function exists(path: string, Failure: ErrorClass = RunError): Promise<boolean> {
  return (await look(path, Failure)) !== null;
}

/**
 * The bytes of a file; null when there is nothing of its name.
 *
 * @throws `Failure` as `look`, and when it is no file or cannot be read
 */
export async function readIfPresent(file: string, Failure: ErrorClass): Promise<Buffer | null> {
  const found = await look(file, Failure);
  if (found === null) return null;
  // A pipe would be waited for, for ever.
  if (!found.isFile()) throw new Failure('This is not a regular file.', { file });
  return readFile(file).catch((cause: Error) => {
    throw new Failure(`The file cannot be read (${cause.message}).`, { file, cause });
  });
}

/** A pipe or a device would be read for ever. @throws Error for anything but a file or a link to one; system errors */
export async function checkRegularFile(file: string): Promise<void> {
  if (!(await stat(file)).isFile()) throw new Error('not a regular file');
}

/** The code of a system error (`ENOENT`), or undefined for any other error. */
export function systemErrorCode(error: unknown): string | undefined {
  const { syscall, code } = error as NodeJS.ErrnoException;
  return syscall === undefined ? undefined : code;
}

/** A system error while writing `path` as a RunError that says so; any other error as it is. */
export function diskError(error: unknown, path: string): unknown {
  const code = systemErrorCode(error);
  if (code === undefined) return error;
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  return new RunError(`It cannot be written (${(error as Error).message}).`, {
    file: path,
    cause: error,
    ...(full && { hint: 'Free space on the disk.' }),
  });
}
