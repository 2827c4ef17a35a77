/** A file of the hub as a blob of the cache: named by its hash, and there only if it has that hash. */
import { createHash, type Hash } from 'node:crypto';
import { open as openFile, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ListFileEntry } from '@huggingface/hub';
import { lockFile } from '@sralign/native';
import { exists, makeFolder, streamFileAtomic, TEMPORARY_NAME } from '../files.js';
import { reportProgress } from '../progress.js';

const SHA1 = /^[0-9a-f]{40}$/;
const SHA256 = /^[0-9a-f]{64}$/;
/** Where the file system keeps no locks: a download that goes on writes all the time. */
const ABANDONED_MS = 3_600_000;
/** From the creation of a file to its lock, at most. */
const UNLOCKED_MS = 1000;

/**
 * The name of a file's blob: sha256 of the content of large files, which Git keeps elsewhere, and Git's own hash of others.
 *
 * @throws Error when the hub gives something else, which could be a path to anywhere
 */
export function blobName({ path, oid, lfs }: ListFileEntry): string {
  const [name, form] = lfs === undefined ? [oid, SHA1] : [lfs.oid, SHA256];
  if (typeof name !== 'string' || !form.test(name)) {
    throw new Error(`the hub gives ${JSON.stringify(name)} as the hash of ${path}`);
  }
  return name;
}

/**
 * Stores the content of a file as a blob; one that is there already is left.
 *
 * @throws Error when the content has another size or hash than the hub says; RunError when the disk refuses
 */
export async function storeBlob(
  folder: string,
  entry: ListFileEntry,
  open: () => Promise<ReadableStream<Uint8Array>>,
): Promise<void> {
  const name = blobName(entry);
  const { path, size } = entry;
  const file = join(folder, name);
  if (await exists(file)) return;
  makeFolder(dirname(file));
  const report = (done: number): void =>
    reportProgress({ phase: 'downloading', subject: path, done, total: size, unit: 'bytes' });
  await streamFileAtomic(file, async handle => {
    // Says that this download goes on, until it ends or its process does.
    lockFile(handle.fd);
    const hash = startHash(entry);
    let done = 0;
    report(done);
    for await (const chunk of await open()) {
      done += chunk.length;
      if (done > size) throw new Error(`${path} is longer than its ${size} bytes`);
      hash.update(chunk);
      await handle.writeFile(chunk);
      report(done);
    }
    if (done !== size) throw new Error(`${path} ended after ${done} of ${size} bytes`);
    const found = hash.digest('hex');
    if (found !== name) throw new Error(`${path} came with the hash ${found}, not ${name}`);
  });
}

/** Removes what killed downloads have left, which can be as large as a model; those of other processes go on. */
export async function removeAbandoned(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const file of names.filter(name => TEMPORARY_NAME.test(name)).map(name => join(folder, name))) {
    await using handle = await openFile(file, 'r+').catch(() => null);
    if (handle === null) continue;
    const lock = lockFile(handle.fd);
    const ageMs = Date.now() - (await handle.stat()).mtimeMs;
    if (lock !== 'busy' && ageMs > (lock === 'held' ? UNLOCKED_MS : ABANDONED_MS))
      await rm(file, { force: true });
  }
}

function startHash({ lfs, size }: ListFileEntry): Hash {
  return lfs === undefined ? createHash('sha1').update(`blob ${size}\0`) : createHash('sha256');
}
