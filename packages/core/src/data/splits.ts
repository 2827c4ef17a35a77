/** Which files of a folder, or of a repository of the hub, belong to which split, by their names. */
import { DataError } from '../errors.js';
import { DATA_FILE } from './records.js';

/** What people call the splits, as the library `datasets` understands them. */
const KEYWORDS: ReadonlyMap<string, string> = new Map([
  ...['train', 'training'].map(word => [word, 'train'] as const),
  ...['validation', 'valid', 'val', 'dev'].map(word => [word, 'validation'] as const),
  ...['test', 'testing', 'eval', 'evaluation'].map(word => [word, 'test'] as const),
]);

/** As `datasets` writes them: train-00000-of-00003.parquet, with a digest behind it or not. */
const SHARD = /^(.+)-(\d{5})-of-(\d{5})(-[0-9a-f]+)?\./;

/** The split that is taken where none is named and there are several; the first of these that is there. */
const USUAL = { training: ['train'], evaluation: ['test', 'validation'] } as const;

/** The files of a data source. */
export interface SourceFiles {
  readonly files: string[];
  /** Which files of the place are left out because they are of another split, and none was named; null: none. */
  readonly notice: string | null;
}

/**
 * Every split that a file may be called a part of, the most telling name first: that of a shard; the whole name of the file or
 * its folder; a word of the file's name, or of its folders from the inside; `train` where nothing tells. Then the names of the
 * file and its folders themselves.
 */
function splitNames(path: string): string[] {
  const parts = path.split('/').reverse();
  const stem = parts[0]!.replace(DATA_FILE, '');
  const shard = SHARD.exec(parts[0]!)?.[1];
  const names = [stem, ...parts.slice(1)];
  const words = names.flatMap(part => part.split(/[-._ 0-9]+/));
  const keyword = [...names.slice(0, 2), ...words]
    .map(word => KEYWORDS.get(word.toLowerCase()))
    .find(found => found !== undefined);
  return [...(shard === undefined ? [] : [shard]), keyword ?? 'train', ...names];
}

/** The most telling name of a file's split. */
const splitOf = (path: string): string => splitNames(path)[0]!;

/**
 * The files of a split.
 *
 * @param paths relative to the folder or repository, with `/`
 * @param split null: the only one there is, or of several the one usual for the purpose
 * @param where named in errors
 * @throws DataError listing the splits there are; for a shard that is missing
 */
export function filesOfSplit(
  paths: readonly string[],
  split: string | null,
  purpose: keyof typeof USUAL,
  where: string,
): SourceFiles {
  const splits = new Map<string, string[]>();
  for (const path of paths.toSorted()) {
    const name = splitOf(path);
    const files = splits.get(name);
    if (files === undefined) splits.set(name, [path]);
    else files.push(path);
  }
  const named =
    split === null ? [] : paths.filter(path => splitNames(path).includes(KEYWORDS.get(split) ?? split));
  const found =
    named.length > 0
      ? { files: named.toSorted(), notice: null }
      : filesOfSplits(splits, split, purpose, where);
  checkShards(found.files, where);
  return found;
}

/**
 * The files of one of these splits.
 *
 * @param split null: the only one there is, or of several the one usual for the purpose
 * @param where named in errors
 * @throws DataError listing the splits there are
 */
export function filesOfSplits(
  splits: ReadonlyMap<string, readonly string[]>,
  split: string | null,
  purpose: keyof typeof USUAL,
  where: string,
): SourceFiles {
  const usual = splits.size === 1 ? [...splits.keys()] : USUAL[purpose];
  const wanted = split ?? usual.find(name => splits.has(name));
  const files = wanted === undefined ? undefined : splits.get(wanted);
  if (wanted !== undefined && files !== undefined) {
    return { files: files.toSorted(), notice: split === null ? noticeOf(splits, wanted, where) : null };
  }
  const what = split === null ? 'It has several splits, and none is named.' : `It has no split "${split}".`;
  const hint = `There are ${[...splits.keys()].sort().join(', ')}.`;
  throw new DataError(what, { file: where, field: 'split', hint });
}

const NAMED_FILES = 3;

function noticeOf(
  splits: ReadonlyMap<string, readonly string[]>,
  wanted: string,
  where: string,
): string | null {
  const others = [...splits.keys()].filter(name => name !== wanted).sort();
  const leftOut = others.flatMap(name => splits.get(name)!);
  if (leftOut.length === 0) return null;
  const files = (count: number): string => `${count} file${count === 1 ? '' : 's'}`;
  const names = leftOut.slice(0, NAMED_FILES).join(', ') + (leftOut.length > NAMED_FILES ? ', …' : '');
  return (
    `${where}: the split ${wanted} is read (${files(splits.get(wanted)!.length)}); ` +
    `${files(leftOut.length)} of ${others.join(', ')} ${leftOut.length === 1 ? 'is' : 'are'} left out: ${names}. ` +
    'Name another split by {split: …}.'
  );
}

/** @throws DataError when a shard that the names of the others count is not there */
function checkShards(paths: readonly string[], where: string): void {
  const sets = new Map<string, Set<number>>();
  for (const path of paths) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    const [, , index, count] = SHARD.exec(name) ?? [];
    if (index === undefined) continue;
    const key = path.slice(0, path.length - name.length) + name.replace(SHARD, `$1-#####-of-${count}.`);
    const seen = sets.get(key) ?? new Set();
    sets.set(key, seen.add(Number(index)));
    const total = Number(count);
    if (Number(index) >= total)
      throw new DataError(`Of ${total} shards this is number ${index}.`, { file: path });
  }
  for (const [key, seen] of sets) {
    const total = Number(/-of-(\d{5})\./.exec(key)![1]);
    const missing = Array.from({ length: total }, (_, index) => index).find(index => !seen.has(index));
    if (missing === undefined) continue;
    const name = key.replace('#####', String(missing).padStart(5, '0'));
    throw new DataError(`The shard ${name} is missing.`, {
      file: where,
      hint: `${seen.size} of ${total} are there; fetch the rest.`,
    });
  }
}
