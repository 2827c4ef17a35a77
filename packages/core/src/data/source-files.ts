/** From the path of a data source, a file, a folder or a pattern, to its files. */
import { join } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { DataError } from '../errors.js';
import { look } from '../files.js';
import { holdsRecords, isDataFile, SUPPORTED } from './records.js';
import { filesOfSplit, type SourceFiles } from './splits.js';

/**
 * The files of a path, sorted by their names: the file itself; those of a folder, all levels down, that belong to a split;
 * those that match a pattern (`*`, `?`, `[…]`, `{…}`, `**`), and of these only a split's where one is named.
 *
 * @param split null: of a folder the only one, or the one usual for the purpose
 * @throws DataError when a folder or pattern has no data file, a split is named of a file, or as `filesOfSplit`
 */
export async function filesOfPath(
  path: string,
  split: string | null,
  purpose: 'training' | 'evaluation',
): Promise<SourceFiles> {
  const status = await look(path, DataError);
  if (status?.isDirectory()) return filesOfFolder(path, split, purpose);
  if (status !== null || !isDynamicPattern(path)) {
    if (status === null && HUB_ID.test(path) && !isDataFile(path)) throw noFile(path);
    if (split !== null) {
      throw new DataError('A file is no split: folders, patterns and data sets of the hub have them.', {
        file: path,
        field: 'split',
        hint: 'Leave split out.',
      });
    }
    return { files: [path], notice: null };
  }
  const found = await glob(path, { absolute: path.startsWith('/'), expandDirectories: false });
  if (found.length === 0) throw new DataError('No file matches this pattern.', { file: path });
  return split === null ? { files: found.sort(), notice: null } : filesOfSplit(found, split, purpose, path);
}

const HUB_ID = /^[\w-][\w.-]*\/[\w-][\w.-]*$/;

const noFile = (path: string): DataError =>
  new DataError('There is no such file or folder.', {
    file: path,
    hint: `A data set of the Hugging Face hub is written {hub: ${path}}.`,
  });

async function filesOfFolder(
  folder: string,
  split: string | null,
  purpose: 'training' | 'evaluation',
): Promise<SourceFiles> {
  const all = await glob('**', { cwd: folder, expandDirectories: false });
  const data = all.filter(holdsRecords);
  if (data.length === 0) {
    throw new DataError('The folder holds no data file.', {
      file: folder,
      hint: all.some(name => name.endsWith('.arrow'))
        ? 'Files of Arrow are not read: `load_from_disk(FOLDER)["train"].to_parquet("train.parquet")` writes one that is.'
        : SUPPORTED,
    });
  }
  const { files, notice } = filesOfSplit(data, split, purpose, folder);
  return { files: files.map(name => join(folder, name)), notice };
}
