/** The data formats, and the reading of one record. */
import type { Config } from '../../config/schema.js';
import { DataError } from '../../errors.js';
import { conversational, ultrafeedback } from './chat-pairs.js';
import type { Fields, Format, ParsedRecord, ParseOptions, RowContent, Where } from './format.js';
import { hh, preference } from './text-pairs.js';

export type DataFormat = Config['data']['format'];

export const FORMATS: Readonly<Record<DataFormat, Format>> = {
  hh,
  preference,
  conversational,
  ultrafeedback,
};

/**
 * Reads one record, which gives at least one row or a reason why it gives none.
 *
 * @throws DataError with file, row and field when a field is missing or of the wrong kind, or the prompt is empty
 */
export function parseRecord(
  format: Format,
  value: unknown,
  where: Where,
  options: ParseOptions,
): ParsedRecord {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DataError('Expected a record with fields.', { ...where });
  }
  const parsed = format.parse(value as Fields, where, options);
  if ('skipped' in parsed) return parsed;
  for (const { prompt } of parsed.rows) {
    if (prompt.kind === 'text' && prompt.text === '')
      throw new DataError('The prompt is empty.', { ...where, field: 'prompt' });
  }
  if (options.equalAnswers === 'keep') return parsed;
  const rows = parsed.rows.filter(row => !answersEqual(row));
  return rows.length === 0 ? { skipped: 'chosen equals rejected' } : { rows };
}

const answersEqual = (row: RowContent): boolean => row.kind === 'pair' && row.chosen === row.rejected;
