/** data.columns: what the fields of a format are called in a file. */
import { DataError } from '../../errors.js';
import type { Fields } from './format.js';

/** Field of the format: column of the file. */
export type Columns = Readonly<Record<string, string>>;

/** The record with its columns under the names of the fields; other columns keep their names. */
export function renameColumns(record: Fields, columns: Columns): Fields {
  const entries = Object.entries(columns);
  if (entries.length === 0) return record;
  const taken = new Set([...Object.keys(columns), ...Object.values(columns)]);
  const others = Object.entries(record).filter(([name]) => !taken.has(name));
  const named = entries
    .filter(([, column]) => Object.hasOwn(record, column))
    .map(([field, column]) => [field, record[column]] as const);
  return Object.fromEntries([...others, ...named]);
}

/** @param found the names of the columns of the file @throws DataError for a column that the file lacks */
export function checkColumns(columns: Columns, found: ReadonlySet<string>, file: string): void {
  for (const [field, column] of Object.entries(columns)) {
    if (found.has(column)) continue;
    throw new DataError(`There is no column "${column}", from which data.columns reads ${field}.`, {
      file,
      field: column,
      hint: `The file has: ${[...found].join(', ')}.`,
    });
  }
}

/** The error with the field under the name that it has in the file. */
export function inColumns(error: DataError, columns: Columns): DataError {
  const { field } = error.details;
  const root = field?.split(/[.[]/, 1)[0];
  if (root === undefined || !Object.hasOwn(columns, root)) return error;
  const named = columns[root]! + field!.slice(root.length);
  return new DataError(error.problem, { ...error.details, field: named });
}
