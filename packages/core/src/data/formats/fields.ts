/** The fields of a record, checked. */
import { DataError, type ErrorDetails, shown } from '../../errors.js';
import type { Fields, Where } from './format.js';

/** @throws DataError when the field is no text */
export function textField(fields: Fields, field: string, where: Where): string {
  const value = fields[field];
  if (typeof value === 'string') return value;
  throw fieldError(value, 'a text', { ...where, field });
}

/** The field is missing, or is not what was expected. */
export function fieldError(value: unknown, expected: string, details: ErrorDetails): DataError {
  const hint = 'See data.format for the fields of each format.';
  if (value === undefined || value === null) {
    return new DataError(`Missing; expected ${expected}.`, { ...details, hint });
  }
  return new DataError(`Expected ${expected}, found ${shown(value, 60)}.`, { ...details, hint });
}
