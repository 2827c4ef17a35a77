/** The fields of a record, checked. */
import { DataError, type ErrorDetails, shown } from '../../errors.js';
import type { Fields, Where } from './format.js';

export const isText = (value: unknown): value is string => typeof value === 'string';

export const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Whether the field holds anything: columns of tables are there with null too. */
export const has = (record: Fields, field: string): boolean =>
  record[field] !== undefined && record[field] !== null;

/** The first of these names that the record has a value under. */
export const firstOf = <Name extends string>(record: Fields, names: readonly Name[]): Name | undefined =>
  names.find(name => has(record, name));

/** @throws DataError when the field is no text */
export function textField(record: Fields, field: string, where: Where): string {
  const value = record[field];
  if (isText(value)) return value;
  throw fieldError(value, 'a text', { ...where, field });
}

/**
 * A number, also one that a table holds as text or as a 64-bit integer.
 *
 * @throws DataError when the field is none
 */
export function numberField(record: Fields, field: string, where: Where): number {
  const value = record[field];
  const number = typeof value === 'bigint' || (isText(value) && value.trim() !== '') ? Number(value) : value;
  if (typeof number === 'number' && Number.isFinite(number)) return number;
  throw fieldError(value, 'a number', { ...where, field });
}

/** What tables hold as true or false (booleans, 1 and 0, either as text); null for anything else. */
export function booleanOf(value: unknown): boolean | null {
  const text = isText(value) ? value.trim().toLowerCase() : value;
  if (text === true || text === 'true') return true;
  if (text === false || text === 'false') return false;
  const number = typeof text === 'bigint' || (isText(text) && text !== '') ? Number(text) : text;
  return number === 1 ? true : number === 0 ? false : null;
}

/** @throws DataError when the field is no list that holds something */
export function listField(record: Fields, field: string, expected: string, where: Where): unknown[] {
  const value = record[field];
  if (Array.isArray(value) && value.length > 0) return value;
  throw fieldError(value, expected, { ...where, field });
}

/** The field is missing, or is not what was expected. */
export function fieldError(value: unknown, expected: string, details: ErrorDetails): DataError {
  const hint = 'See data.format for the fields of each format, and data.columns for other names.';
  if (value === undefined || value === null) {
    return new DataError(`Missing; expected ${expected}.`, { ...details, hint });
  }
  return new DataError(`Expected ${expected}, found ${shown(value, 60)}.`, { ...details, hint });
}
