/** Models of the Hugging Face hub: from an id to a folder of the cache, downloaded where it is not there. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type ListFileEntry, listFiles, modelInfo } from '@huggingface/hub';
import { environment } from '../config/env.js';
import { ModelError, SralignError } from '../errors.js';
import { baseModelOf, type ModelNeed, refuseForeign } from './foreign.js';
import { removeAbandoned } from './hub-blob.js';
import {
  COMMIT,
  cachedSnapshot,
  failureOf,
  fetchFile,
  type HubSource,
  hintFor,
  isHeld,
  keepRef,
  REVISION,
} from './hub-cache.js';
import { hubAccess } from './hub-requests.js';
import { INDEX_FILE, SINGLE_FILE, weightFiles } from './safetensors.js';

const HUB_ID = /^[\w-][\w.-]*\/[\w-][\w.-]*$/;

/** What is fetched beside the weights: configuration, tokenizer, chat template, licence, the card's facts. */
const COMPANIONS = /^[\w.-]+\.(json|jinja|model|txt)$|^tokenizer[\w.-]*$|^(LICENSE|NOTICE|README)[\w.-]*$/;

export const isHubId = (text: string): boolean => HUB_ID.test(text);

/** The hub id of a folder in a Hugging Face cache; null for any other folder. */
export function hubIdOf(folder: string): string | null {
  const [, organisation, name] = /\/models--(.+?)--(.+)\/snapshots\/[0-9a-f]{40}\/?$/.exec(folder) ?? [];
  return name === undefined ? null : `${organisation}/${name}`;
}

/**
 * The folder of a hub model (`organisation/name`). It is looked up in the Hugging Face cache and, if not complete there,
 * downloaded into it; a cached model is used without asking the hub for changes. HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT
 * and HF_HUB_OFFLINE are honoured.
 *
 * @param revision branch, tag or commit
 * @throws ModelError when there is no such model, when it is something else, or the download fails; RunError when the disk
 *   refuses
 */
export async function hubModelFolder(
  id: string,
  revision: string,
  { need, offline }: { readonly need: ModelNeed; readonly offline: boolean },
): Promise<string> {
  const weights = need === 'weights';
  if (!REVISION.test(revision)) {
    throw new ModelError(`${JSON.stringify(revision)} is not the name of a branch, tag or commit.`, {
      file: id,
      field: 'model.revision',
      hint: 'Expected a name such as main, v1.0 or refs/pr/1.',
    });
  }
  const { hfHubCache, hfHubOffline } = environment();
  const repository = join(hfHubCache, `models--${id.replace('/', '--')}`);
  const cached = await cachedSnapshot(repository, revision);
  const missing = cached === null ? null : await missingFiles(cached, weights);
  if (cached !== null && missing?.length === 0) return cached;
  if (!offline && !hfHubOffline) return download(id, revision, need, repository);
  // A configuration or tokenizer that is not there may not be needed: whoever reads it says so.
  if (cached !== null && !missing?.some(name => name.endsWith('.safetensors'))) return cached;
  if (cached !== null) refuseForeign(id, await readdir(cached), await baseModelOf(cached));
  throw new ModelError(
    missing === null
      ? `There is no such folder, and the hub cache ${repository} does not hold revision "${revision}".`
      : `There is no such folder, and the hub cache ${cached} lacks ${missing.join(', ')}.`,
    {
      file: id,
      hint: hfHubOffline ? 'Unset HF_HUB_OFFLINE to download it.' : 'It is downloaded when a run starts.',
    },
  );
}

async function missingFiles(snapshot: string, weights: boolean): Promise<string[]> {
  // What was fetched once is wanted again when its blob has gone.
  const linked = (await readdir(snapshot)).filter(name => weights || !name.includes('.safetensors'));
  const needed = new Set(['config.json', 'tokenizer.json', ...linked]);
  const missing: string[] = [];
  for (const name of needed) if (!(await isHeld(join(snapshot, name)))) missing.push(name);
  if (!weights || missing.includes(SINGLE_FILE) || missing.includes(INDEX_FILE)) return missing;
  for (const name of await weightFiles(snapshot)) {
    if (!needed.has(name) && !(await isHeld(join(snapshot, name)))) missing.push(name);
  }
  return missing;
}

/** Fetches a revision into the cache, in the layout that all Hugging Face tools share. */
async function download(id: string, revision: string, need: ModelNeed, repository: string): Promise<string> {
  const hub = hubAccess();
  try {
    const { sha } = await modelInfo({ name: id, revision, additionalFields: ['sha'], ...hub });
    if (!COMMIT.test(sha)) throw new Error(`the hub gives ${JSON.stringify(sha)} as the commit`);
    await removeAbandoned(join(repository, 'blobs'));
    const source: HubSource = { repo: { type: 'model', name: id }, revision: sha, ...hub };
    const snapshot = join(repository, 'snapshots', sha);
    const files = new Map<string, ListFileEntry>();
    for await (const entry of listFiles(source)) if (entry.type === 'file') files.set(entry.path, entry);
    for (const [name, entry] of files) {
      if (COMPANIONS.test(name)) await fetchFile(source, entry, name, repository);
    }
    if (need === 'weights' || (need === 'config' && !files.has('config.json')))
      refuseForeign(id, [...files.keys()], await baseModelOf(snapshot));
    if (need === 'weights') {
      const names = files.has(SINGLE_FILE) ? [SINGLE_FILE] : await weightFiles(snapshot);
      for (const name of names) await fetchFile(source, files.get(name), name, repository);
    }
    await keepRef(repository, revision, sha);
    return snapshot;
  } catch (cause) {
    if (cause instanceof SralignError) throw cause;
    // Without the cause itself, which may repeat what was sent.
    throw new ModelError(
      `There is no such folder, and the download from ${hub.hubUrl} failed (${failureOf(cause)}).`,
      { file: id, hint: hintFor(cause, revision, 'model', 'a local folder') },
    );
  }
}
