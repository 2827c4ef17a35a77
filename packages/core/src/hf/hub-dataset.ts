/** Data sets of the Hugging Face hub: from an id to files on this machine, downloaded into the cache where they are not there. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { datasetInfo, HubApiError, type ListFileEntry, listFiles } from '@huggingface/hub';
import picomatch from 'picomatch';
import { environment } from '../config/env.js';
import { holdsRecords, SUPPORTED } from '../data/records.js';
import { filesOfSplit, filesOfSplits, type SourceFiles } from '../data/splits.js';
import { DataError, ModelError, SralignError } from '../errors.js';
import { makeFolder, writeFileAtomic } from '../files.js';
import { frontMatter } from './front-matter.js';
import { removeAbandoned } from './hub-blob.js';
import {
  COMMIT,
  failureOf,
  fetchFile,
  type HubSource,
  hintFor,
  isHeld,
  keepRef,
  REVISION,
} from './hub-cache.js';
import { hubAccess } from './hub-requests.js';
import { isRecord } from './json.js';

/** Which files of which data set. */
export interface HubDataset {
  /** `organisation/name`. */
  readonly id: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  /** Which of its configurations (subsets), or a folder in it; null: the only one, or its default. */
  readonly config: string | null;
  /** null: the only one, or the one usual for the purpose. */
  readonly split: string | null;
}

const ID = /^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/;
/** Where the hub keeps what it has converted itself, as CONFIG/SPLIT/0000.parquet. */
const CONVERTED = 'refs/convert/parquet';
/** No name leads out of a folder. */
const SAFE_PATH = /^(?!\/)(?!(.*\/)?\.{1,2}(\/|$))[^\0\\]+$/;

/**
 * The files of a split, as paths in the cache, sorted by name: Parquet files of the repository, or those that the hub has
 * converted, or else its other data files. What was resolved once is used without asking the hub for changes. HF_HOME,
 * HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are honoured.
 *
 * @param offline whether nothing may be downloaded, as HF_HUB_OFFLINE says for all
 * @throws DataError when there is no such data set, configuration, split or data file, or the download fails; RunError when
 *   the disk refuses
 */
export async function hubDatasetFiles(
  dataset: HubDataset,
  purpose: 'training' | 'evaluation',
  offline = false,
): Promise<SourceFiles> {
  const { id, revision } = dataset;
  if (!ID.test(id)) throw new DataError(`${JSON.stringify(id)} is no id of the hub (organisation/name).`);
  if (!REVISION.test(revision)) {
    throw new DataError(`${JSON.stringify(revision)} is not the name of a branch, tag or commit.`, {
      file: id,
    });
  }
  const { hfHubCache, hfHubOffline } = environment();
  const hub = hubAccess();
  const repository = join(hfHubCache, `datasets--${id.replace('/', '--')}`);
  const isOffline = offline || hfHubOffline;
  const place = `${id} (hub)`;
  try {
    const at = async (branch: string): Promise<Commit | null> =>
      openCommit({ repo: { type: 'dataset', name: id }, revision: branch, ...hub }, repository, isOffline);
    const own = await at(revision);
    if (own === null) {
      throw new DataError(`The hub cache ${repository} does not hold revision "${revision}".`, {
        file: place,
        hint: offline ? 'It is downloaded when a run starts.' : 'Unset HF_HUB_OFFLINE to download it.',
      });
    }
    const {
      commit,
      files: names,
      notice,
    } = await choose(own, revision === 'main' ? () => at(CONVERTED) : null, dataset, purpose);
    const files: string[] = [];
    for (const name of names) files.push(await commit.fetch(name));
    return { files, notice };
  } catch (cause) {
    if (cause instanceof ModelError) throw new DataError(cause.message, { cause });
    if (cause instanceof SralignError) throw cause;
    // Without the cause itself, which may repeat what was sent.
    throw new DataError(`The download from ${hub.hubUrl} failed (${failureOf(cause)}).`, {
      file: place,
      hint: hintFor(cause, revision, 'data set', 'a local path'),
    });
  }
}

/** The files of a commit, by their names. */
interface Commit {
  readonly entries: ReadonlyMap<string, ListFileEntry>;
  /** @returns the path of a file in the cache */
  fetch(name: string): Promise<string>;
}

/** @returns null where the cache does not know the revision, and may not ask */
async function openCommit(source: HubSource, repository: string, offline: boolean): Promise<Commit | null> {
  const { revision } = source;
  const ref = (await readFile(join(repository, 'refs', revision), 'utf8').catch(() => revision)).trim();
  const known = COMMIT.test(ref) ? await readListing(repository, ref) : null;
  if (known === null && offline) return null;
  const { sha, listing } =
    known === null ? await askListing(source, repository) : { sha: ref, listing: known };
  const entries = new Map(listing.map(entry => [entry.path, entry]));
  return {
    entries,
    async fetch(name) {
      const file = join(repository, 'snapshots', sha, name);
      if (offline && !(await isHeld(file))) {
        throw new DataError(`The hub cache lacks ${file}.`, {
          file: source.repo.name,
          hint: 'Unset HF_HUB_OFFLINE to download it.',
        });
      }
      await fetchFile({ ...source, revision: sha }, entries.get(name), name, repository);
      return file;
    },
  };
}

/** What a commit holds never changes; the list is kept beside the snapshots. */
const listingFile = (repository: string, sha: string): string => join(repository, 'listings', `${sha}.json`);

async function readListing(repository: string, sha: string): Promise<ListFileEntry[] | null> {
  const text = await readFile(listingFile(repository, sha), 'utf8').catch(() => null);
  try {
    const listing: unknown = JSON.parse(text ?? '');
    return Array.isArray(listing) && listing.every(isEntry) ? (listing as ListFileEntry[]) : null;
  } catch {
    return null;
  }
}

const isEntry = (entry: unknown): boolean =>
  isRecord(entry) &&
  typeof entry.path === 'string' &&
  SAFE_PATH.test(entry.path) &&
  typeof entry.size === 'number';

async function askListing(
  source: HubSource,
  repository: string,
): Promise<{ sha: string; listing: ListFileEntry[] }> {
  const { repo, revision, ...hub } = source;
  const { sha } = await datasetInfo({ name: repo.name, revision, additionalFields: ['sha'], ...hub });
  if (!COMMIT.test(sha)) throw new Error(`the hub gives ${JSON.stringify(sha)} as the commit`);
  await removeAbandoned(join(repository, 'blobs'));
  const listing: ListFileEntry[] = [];
  for await (const entry of listFiles({ ...source, revision: sha, recursive: true })) {
    if (entry.type !== 'file') continue;
    if (!isEntry(entry)) throw new Error(`the hub gives ${JSON.stringify(entry.path)} as the name of a file`);
    listing.push(entry);
  }
  makeFolder(join(repository, 'listings'));
  await writeFileAtomic(listingFile(repository, sha), JSON.stringify(listing));
  await keepRef(repository, revision, sha);
  return { sha, listing };
}

/** @param converted the hub's own conversion; null where it is of another revision */
async function choose(
  own: Commit,
  converted: (() => Promise<Commit | null>) | null,
  { id, config, split }: HubDataset,
  purpose: 'training' | 'evaluation',
): Promise<SourceFiles & { readonly commit: Commit }> {
  const place = config === null ? `${id} (hub)` : `${id} (hub), ${config}`;
  const all = [...own.entries.keys()].filter(holdsRecords);
  const stated = await statedFiles(own, config, all, id);
  if (stated !== null) return { commit: own, ...filesOfSplits(stated, split, purpose, place) };
  const inFolder = config === null ? all : all.filter(name => name.startsWith(`${config}/`));
  const parquet = inFolder.filter(name => name.endsWith('.parquet'));
  if (parquet.length > 0) return { commit: own, ...filesOfSplit(parquet, split, purpose, place) };
  const branch = await converted?.().catch(ifThere);
  const configs = branch && byConfig([...branch.entries.keys()]);
  if (branch && configs && configs.size > 0) {
    const name = chosenConfig([...configs.keys()], config, inFolder.length > 0 ? null : id);
    if (name !== null) return { commit: branch, ...filesOfSplits(configs.get(name)!, split, purpose, place) };
  }
  if (inFolder.length > 0) return { commit: own, ...filesOfSplit(inFolder, split, purpose, place) };
  throw new DataError('The data set has no file that can be read.', {
    file: place,
    hint: SUPPORTED,
  });
}

/** Nothing was converted, as a rule because the data are private or too large. */
function ifThere(error: unknown): null {
  if (error instanceof HubApiError && error.statusCode === 404) return null;
  throw error;
}

type Splits = Map<string, string[]>;

/** CONFIG/SPLIT/NNNN.parquet, by configuration. */
function byConfig(names: readonly string[]): Map<string, Splits> {
  const configs = new Map<string, Splits>();
  for (const name of names) {
    const [, config, split] = /^([^/]+)\/([^/]+)\/[^/]+\.parquet$/.exec(name) ?? [];
    if (config === undefined || split === undefined) continue;
    const splits = configs.get(config) ?? new Map<string, string[]>();
    configs.set(config, splits.set(split, [...(splits.get(split) ?? []), name]));
  }
  return configs;
}

/** @param id named in the error; null where it is none that the configuration is not there */
function chosenConfig(names: readonly string[], config: string | null, id: string | null): string | null {
  const wanted = config ?? (names.length === 1 ? names[0]! : 'default');
  if (names.includes(wanted)) return wanted;
  if (id === null) return null;
  throw new DataError(
    config === null ? 'It has several configurations.' : `It has no configuration "${config}".`,
    {
      file: `${id} (hub)`,
      field: 'config',
      hint: `There are ${names.join(', ')}.`,
    },
  );
}

/** The files of a configuration as the card (README.md) states them; null where it states none. */
async function statedFiles(
  commit: Commit,
  config: string | null,
  names: readonly string[],
  id: string,
): Promise<Splits | null> {
  if (!commit.entries.has('README.md')) return null;
  const card = await readFile(await commit.fetch('README.md'), 'utf8');
  const configs = statedConfigs(card);
  if (configs.length === 0) return null;
  const usual = configs.find(({ isDefault }) => isDefault)?.name;
  const isFolder = config !== null && names.some(name => name.startsWith(`${config}/`));
  const name = chosenConfig(
    configs.map(({ name }) => name),
    config ?? usual ?? null,
    isFolder ? null : id,
  );
  const found = configs.find(config => config.name === name);
  if (found === undefined) return null;
  const splits: Splits = new Map();
  for (const [split, patterns] of found.splits) {
    const isMatch = picomatch(patterns.map(pattern => pattern.replace(/^\.?\//, '')));
    const files = names.filter(file => isMatch(file));
    if (files.length > 0) splits.set(split, files);
  }
  // A configuration of files of another kind, which the hub converts.
  return splits.size === 0 ? null : splits;
}

interface StatedConfig {
  readonly name: string;
  readonly isDefault: boolean;
  /** A split and the patterns of its files. */
  readonly splits: readonly (readonly [string, readonly string[]])[];
}

/** `configs` of the front matter; what is not of the form that the hub documents is passed over. */
function statedConfigs(card: string): StatedConfig[] {
  const { configs: list } = frontMatter(card);
  const configs = Array.isArray(list) ? list.filter(isRecord) : [];
  return configs.flatMap(({ config_name: name, data_files: files, default: isDefault }) => {
    if (typeof name !== 'string' || files === undefined) return [];
    const list = [files].flat();
    const splits = list.filter(isRecord).map(({ split, path }) => [String(split), patternsOf(path)] as const);
    const bare = patternsOf(list);
    return [
      {
        name,
        isDefault: isDefault === true,
        splits: bare.length > 0 ? [...splits, ['train', bare] as const] : splits,
      },
    ];
  });
}

const patternsOf = (value: unknown): string[] =>
  [value].flat().filter((pattern): pattern is string => typeof pattern === 'string');
