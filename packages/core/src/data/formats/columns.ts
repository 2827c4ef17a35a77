/** data.columns: what the fields of a format are called in a file. */
import { DataError } from '../../errors.js';
import { isObject } from './fields.js';
import type { Fields } from './format.js';

/** Field of the format: column of the file. */
export type Columns = Readonly<Record<string, string>>;

/** The record with its columns under the names of the fields; other columns keep their names. */
export function renameColumns(record: Fields, columns: Columns): Fields {
  const entries = Object.entries(columns);
  if (entries.length === 0) return record;
  const taken = new Set([...entries.flat(), ...Object.values(columns).map(rootOf)]);
  const others = Object.entries(record).filter(([name]) => !taken.has(name));
  const named = entries
    .map(([field, column]) => [field, valueAt(record, column)] as const)
    .filter(([, value]) => value !== undefined);
  return Object.fromEntries([...others, ...named]);
}

/** The column of this name, or what "column.key" is in it; undefined where there is none. */
function valueAt(record: Fields, column: string): unknown {
  if (Object.hasOwn(record, column)) return record[column];
  const [root, ...keys] = column.split('.');
  return keys.reduce<unknown>(
    (value, name) => (isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined),
    Object.hasOwn(record, root!) ? record[root!] : undefined,
  );
}

/** The column of the file that a name of data.columns is in. */
export const rootOf = (column: string): string => column.split('.')[0]!;

/** @param found the names of the columns of the file @throws DataError for a column that the file lacks */
export function checkColumns(columns: Columns, found: ReadonlySet<string>, file: string): void {
  for (const [field, column] of Object.entries(columns)) {
    if (found.has(column) || found.has(rootOf(column))) continue;
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
