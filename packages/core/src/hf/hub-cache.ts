/** The Hugging Face cache: its layout, which all Hugging Face tools share, and how a file of a repository gets into it. */
import { readFile, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { downloadFile, HubApiError, type ListFileEntry } from '@huggingface/hub';
import { withoutSecrets } from '../config/secrets.js';
import { ModelError } from '../errors.js';
import { makeFolder, systemErrorCode, writeFileAtomic } from '../files.js';
import { blobName, storeBlob } from './hub-blob.js';
import type { HubAccess } from './hub-requests.js';

/** The name of a commit. */
export const COMMIT = /^[0-9a-f]{40}$/;
/** Names of branches and tags as Git allows them; none leads out of the cache. */
export const REVISION = /^(?![./])(?!.*(\.\.|\/\.|\/\/))[^\s\p{Cc}\\~^:?*[]+(?<![/.])$/u;

/** The folder of a revision in the cache, complete or not; null when the revision was never fetched. */
export async function cachedSnapshot(repository: string, revision: string): Promise<string | null> {
  const ref = await readFile(join(repository, 'refs', revision), 'utf8').catch(() => revision);
  const snapshot = join(repository, 'snapshots', ref.trim());
  return COMMIT.test(ref.trim()) && (await isHeld(snapshot)) ? snapshot : null;
}

/** Whether the cache has what a name in it stands for; a link whose blob was cleaned away stands for nothing. */
export async function isHeld(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (cause) {
    if (systemErrorCode(cause) === 'ENOENT') return false;
    throw new ModelError(`It cannot be looked at (${(cause as Error).message}).`, { file: path, cause });
  }
}

/** Remembers which commit a branch or tag stands for. */
export async function keepRef(repository: string, revision: string, commit: string): Promise<void> {
  if (revision === commit) return;
  const ref = join(repository, 'refs', revision);
  makeFolder(dirname(ref));
  await writeFileAtomic(ref, commit);
}

/** A commit of a repository. */
export interface HubSource extends HubAccess {
  readonly repo: { readonly type: 'model' | 'dataset'; readonly name: string };
  readonly revision: string;
}

/** Fetches one file as a blob and links the snapshot to it; a file that is there already is left. */
export async function fetchFile(
  source: HubSource,
  entry: ListFileEntry | undefined,
  name: string,
  repository: string,
): Promise<void> {
  if (entry === undefined) {
    throw new ModelError(`The repository has no ${name}.`, {
      file: source.repo.name,
      hint: 'Only weights in the safetensors format are supported.',
    });
  }
  const link = join(repository, 'snapshots', source.revision, name);
  if (await isHeld(link)) return;
  await storeBlob(join(repository, 'blobs'), entry, async () => {
    const content = await downloadFile({ ...source, path: name });
    if (content === null) throw new Error(`${name} has gone`);
    return content.stream();
  });
  makeFolder(dirname(link));
  await symlink(relative(dirname(link), join(repository, 'blobs', blobName(entry))), link).catch(error => {
    // Another process was faster, or the link was there without its blob.
    if (systemErrorCode(error) !== 'EEXIST') throw error;
  });
}

/** Why a request failed, without what it may repeat of the user's token. */
export const failureOf = (cause: unknown): string => withoutSecrets(withoutHeaders(describe(cause)));

/** An answer may repeat the header that holds the token. */
const withoutHeaders = (text: string): string => text.replaceAll(/\b(Bearer|Basic)\s+[^\s"',]+/gi, '$1 ***');

/** A failed fetch hides its reason (ECONNREFUSED, a certificate) in its cause. */
function describe(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}

/** What to do about it. @param what such as "model" */
export function hintFor(error: unknown, revision: string, what: string, local: string): string {
  const status = error instanceof HubApiError ? error.statusCode : 0;
  if (status === 401 || status === 403) return `Set HF_TOKEN to a token that may read this ${what}.`;
  if (status === 404) return `Check the name, and that revision "${revision}" exists.`;
  return `Check the network, or give ${local}.`;
}
