/** From the sources that a configuration names to their files on this machine. */
import { type SourceConfig, sourcesOf } from '../config/schema/data.js';
import type { Config } from '../config/schema.js';
import type { DataSource } from '../data/source.js';
import { filesOfPath } from '../data/source-files.js';
import type { SourceFiles } from '../data/splits.js';
import { ConfigError } from '../errors.js';
import { hubDatasetFiles } from './hub-dataset.js';

type Purpose = 'training' | 'evaluation';

/** The setting that names the sources. */
const FIELDS = { training: 'data.train', evaluation: 'data.eval' } as const;

export interface ResolvedSources {
  readonly sources: DataSource[];
  /** What of the places is left out because it is of another split. */
  readonly notices: string[];
}

/**
 * The sources of `data.train` or `data.eval` with their files; those of the hub are downloaded where they are not in its cache.
 *
 * @param options.offline true where nothing may be downloaded, as HF_HUB_OFFLINE says for all; default false
 * @throws DataError when a folder, pattern, split, data set or the network gives no files; ConfigError when a file belongs to
 *   two sources that differ
 */
export async function resolveSources(
  { data }: Pick<Config, 'data'>,
  purpose: Purpose,
  { offline = false }: { readonly offline?: boolean } = {},
): Promise<ResolvedSources> {
  const sources: DataSource[] = [];
  const notices = new Set<string>();
  for (const source of sourcesOf(purpose === 'training' ? data.train : data.eval)) {
    const { format, columns, name = null, weight = 1 } = source;
    const { files, notice } = await filesOfSource(source, purpose, offline);
    if (notice !== null) notices.add(`${FIELDS[purpose]}: ${notice}`);
    sources.push({
      ...{ files, name, weight },
      ...(format !== undefined && { format }),
      ...(columns !== undefined && { columns }),
    });
  }
  checkApart(sources, FIELDS[purpose]);
  return { sources, notices: [...notices] };
}

/** The files and folders of this machine that the sources name, and what is in them, each under its setting. */
export async function localInputs({
  data,
}: Pick<Config, 'data'>): Promise<{ field: string; path: string }[]> {
  const inputs: { field: string; path: string }[] = [];
  for (const [purpose, list] of [
    ['training', data.train],
    ['evaluation', data.eval],
  ] as const) {
    for (const { path, split = null } of sourcesOf(list)) {
      if (path === undefined) continue;
      const { files } = await filesOfPath(path, split, purpose);
      inputs.push(...new Set([path, ...files].map(path => ({ field: FIELDS[purpose], path }))));
    }
  }
  return inputs;
}

function filesOfSource(source: SourceConfig, purpose: Purpose, offline: boolean): Promise<SourceFiles> {
  const { path, hub, revision = 'main', config = null, split = null } = source;
  if (path !== undefined) return filesOfPath(path, split, purpose);
  return hubDatasetFiles({ id: hub!, revision, config, split }, purpose, offline);
}

/** A pair is known by its file, so that one with two names or weights could not be told apart. */
function checkApart(sources: readonly DataSource[], field: string): void {
  const owners = new Map<string, DataSource>();
  const weighted = sources.some(({ weight }) => weight !== 1);
  for (const source of sources) {
    for (const file of source.files) {
      const owner = owners.get(file) ?? source;
      owners.set(file, owner);
      const settings = ({ files, ...rest }: DataSource): string => JSON.stringify(rest);
      if (owner === source || (settings(owner) === settings(source) && !weighted)) continue;
      throw new ConfigError('This file belongs to two sources that differ, or have a weight.', {
        file,
        field,
        hint: 'Name it in one of them; a weight of 2 reads it twice.',
      });
    }
  }
}
