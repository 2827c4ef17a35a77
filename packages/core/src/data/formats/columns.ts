/** data.columns: what the fields of a format are called in a file. */
import { DataError } from '../../errors.js';
import { has, isObject } from './fields.js';
import type { Fields, Format } from './format.js';

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

/** What records of every format may do without, so that the first ones need not have it. */
export const DISPENSABLE: readonly string[] = ['system', 'tools', 'input'];

/** Whether the record has the column that a name of data.columns is in. */
export const isColumnOf = (record: Fields, column: string): boolean =>
  Object.hasOwn(record, column) || Object.hasOwn(record, rootOf(column));

/**
 * The fields by which the record is known to be of the format; null where it is not, or where the format passes over a field
 * that data.columns names. (Of system and tools every chat makes use; they tell no format from another.)
 */
export function recognisedBy(record: Fields, format: Format, columns: Columns): readonly string[] | null {
  const passedOver = namedFields(record, columns).some(field => !format.fields.includes(field));
  return passedOver ? null : format.recognise(withoutOverruled(record, format, columns));
}

/** The fields of the record that data.columns names and that tell its format. */
export const namedFields = (record: Fields, columns: Columns): string[] =>
  Object.keys(columns).filter(field => field !== 'system' && field !== 'tools' && has(record, field));

/** The record without what data.columns overrules: the other names of what it names. */
export function withoutOverruled(
  record: Fields,
  { alternatives = [] }: Pick<Format, 'alternatives'>,
  columns: Columns,
): Fields {
  if (Object.keys(columns).length === 0) return record;
  const overruled = alternatives.flatMap(options => {
    const named = options.filter(fields =>
      fields.some(field => Object.hasOwn(columns, field) && has(record, field)),
    );
    const kept = named.flat();
    return named.length === 0 ? [] : options.flat().filter(field => !kept.includes(field));
  });
  if (overruled.length === 0) return record;
  return Object.fromEntries(Object.entries(record).filter(([field]) => !overruled.includes(field)));
}

/**
 * @param found the names of the columns of the file
 * @throws DataError for a column that the file lacks and that its records cannot do without
 */
export function checkColumns(columns: Columns, found: ReadonlySet<string>, file: string): void {
  for (const [field, column] of Object.entries(columns)) {
    if (found.has(column) || found.has(rootOf(column)) || DISPENSABLE.includes(field)) continue;
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
