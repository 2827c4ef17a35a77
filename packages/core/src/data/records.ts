/** The records of a file, whatever kind it is: its name says that. */
import { DataError } from '../errors.js';
import { readCsv } from './csv.js';
import { readJson, readJsonLines } from './jsonl.js';
import { readParquet } from './parquet.js';
import type { SourceRecord } from './source-record.js';

type Reader = (file: string, columns: readonly string[] | null) => AsyncIterable<SourceRecord>;

/** By extension; each may be followed by .gz or .zst. */
const READERS: Readonly<Record<string, Reader>> = {
  jsonl: readJsonLines,
  json: readJson,
  csv: file => readCsv(file, ','),
  tsv: file => readCsv(file, '\t'),
  parquet: readParquet,
};

/** The end of the name of a file of records. */
export const DATA_FILE = /\.(jsonl|json|csv|tsv|parquet)(\.gz|\.zst)?$/;

export const SUPPORTED =
  'Supported: .jsonl, .json, .csv, .tsv and .parquet, each also with .gz or .zst behind it.';

export const isDataFile = (name: string): boolean => DATA_FILE.test(name);

/** Facts about the data that tools put beside them. */
const METADATA = /(^|\/)(dataset_infos?|dataset_dict|state|config)\.json$/;

/** Whether a file of a folder or repository holds records, by its name. */
export const holdsRecords = (name: string): boolean => isDataFile(name) && !METADATA.test(name);

/**
 * Streams the records of a file.
 *
 * @param columns that a Parquet file is read for; null: all
 * @throws DataError when the kind of file is not known, or as its reader
 */
export function readRecords(file: string, columns: readonly string[] | null): AsyncIterable<SourceRecord> {
  const kind = DATA_FILE.exec(file)?.[1];
  if (kind !== undefined) return READERS[kind]!(file, columns);
  throw new DataError('The kind of file is not known by its extension.', {
    file,
    hint: SUPPORTED,
  });
}
