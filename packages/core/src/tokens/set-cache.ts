/**
 * Encoded data sets on disk, so that a run whose data, tokenizer and settings have been seen before starts at once. A set has
 * the name of all that decides it; one that cannot be believed is made again.
 */
import { createHash } from 'node:crypto';
import { readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { digestFile, diskError, makeFolder, TEMPORARY_NAME } from '../files.js';
import { codeDigest } from './code-digest.js';
import { readSet, type StoredSet, writeSet } from './set-file.js';
import type { Tokenizer } from './tokenizer.js';

/** Smaller sets are encoded in less than a moment, and are not kept. */
const KEPT_EXAMPLES = 2000;
/** When the sets of a folder take more, those that were not used for longest go. */
const MOST_BYTES = 20 * 2 ** 30;
/** A file under a temporary name that is older was left by a process that was killed. */
const LEFTOVER_MS = 24 * 3600 * 1000;
const NAME = /^[0-9a-f]{32}\.set$/;

/** What decides an encoded set, beside the contents of the files. */
export interface SetIdentity {
  /** In the order in which they are read. */
  readonly files: readonly string[];
  readonly tokenizer: Tokenizer;
  /** Whatever else: settings, limits; as JSON. */
  readonly settings: unknown;
}

export class SetCache {
  /** What went wrong and was made good. */
  readonly notices: string[] = [];

  /** @param code what encodes, as a digest: what other code has encoded is not looked for */
  constructor(
    private readonly folder: string,
    private readonly code = codeDigest(),
  ) {}

  /**
   * The set of this identity, from the folder or made by `encode`.
   *
   * @throws what `encode` throws; nothing because of the folder, which only saves time
   */
  async get(identity: SetIdentity, encode: () => Promise<StoredSet>): Promise<StoredSet> {
    const before = await states(identity.files);
    // Whoever reads the files says what is wrong with them.
    if (before === null) return encode();
    const key = await keyOf(identity, this.code);
    const file = join(this.folder, `${key.slice(0, 32)}.set`);
    const found = await readSet(file, key);
    if (found !== null && 'encoded' in found) {
      const now = new Date();
      await utimes(file, now, now).catch(() => {});
      return found;
    }
    if (found !== null)
      this.notices.push(`${file}: the encoded data cannot be used (${found.damage}); they are made again.`);
    const made = await encode();
    if (made.encoded.pairs.length < KEPT_EXAMPLES) return made;
    // What was read while it changed would stand under the name of other contents.
    if (JSON.stringify(await states(identity.files)) === JSON.stringify(before))
      await this.keep(file, key, made);
    return made;
  }

  private async keep(file: string, key: string, set: StoredSet): Promise<void> {
    try {
      makeFolder(this.folder);
      await writeSet(file, key, set);
      await this.prune();
    } catch (cause) {
      this.notices.push(
        `The encoded data are not kept for the next start, which will take as long. ${(diskError(cause, this.folder) as Error).message} ` +
          'data.cacheFolder can name another folder.',
      );
    }
  }

  private async prune(): Promise<void> {
    const entries = await Promise.all(
      (await readdir(this.folder)).map(async name => {
        const path = join(this.folder, name);
        const facts = await stat(path).catch(() => null);
        return { name, path, bytes: facts?.size ?? 0, usedMs: facts?.mtimeMs ?? Date.now() };
      }),
    );
    const leftovers = entries.filter(
      ({ name, usedMs }) => TEMPORARY_NAME.test(name) && usedMs < Date.now() - LEFTOVER_MS,
    );
    const sets = entries.filter(({ name }) => NAME.test(name)).sort((a, b) => b.usedMs - a.usedMs);
    let total = 0;
    const old = sets.filter(({ bytes }) => {
      total += bytes;
      return total > MOST_BYTES;
    });
    for (const { path } of [...leftovers, ...old]) await rm(path, { force: true });
  }
}

/** What changes when a file is written; null where one cannot be looked at. */
async function states(files: readonly string[]): Promise<object | null> {
  try {
    return await Promise.all(
      files.map(async file => {
        const { dev, ino, size, mtimeMs, ctimeMs } = await stat(file);
        return { dev, ino, size, mtimeMs, ctimeMs };
      }),
    );
  } catch {
    return null;
  }
}

async function keyOf({ files, tokenizer, settings }: SetIdentity, code: string): Promise<string> {
  const { hash, specialTokens, addedTokens, stopTokenIds, bosTokenId, chatTemplate, now } = tokenizer;
  const contents: unknown[] = [];
  // By name, too: messages and reports of the set name them.
  for (const file of files) contents.push([file, await digestFile(file)]);
  // Only this function tells a template the time: that of the place.
  const isTold = chatTemplate?.includes('strftime_now') === true;
  const clock = isTold ? [now.getTime(), now.toString()] : null;
  const facts = [
    code,
    contents,
    [hash, specialTokens, [...addedTokens], stopTokenIds, bosTokenId, clock],
    settings,
  ];
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex');
}
