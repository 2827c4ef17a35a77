/** Tools that an assistant may call, and its calls, as JSON for the chat template. */
import { DataError } from '../../errors.js';
import { MAX_DEPTH } from '../json-text.js';
import { fieldError, has, isObject, isText } from './fields.js';
import type { Fields, Where } from './format.js';

/**
 * The column `tools`: a list, or one as JSON text, as it is kept where a table has one type a column; null for none.
 *
 * @throws DataError with file, row and field
 */
export function toolsField(record: Fields, where: Where): readonly unknown[] | null {
  if (!has(record, 'tools') || record.tools === '') return null;
  const at = { ...where, field: 'tools' };
  const tools = plainJson(isText(record.tools) ? parseJson(record.tools, at) : record.tools, at);
  if (!Array.isArray(tools)) throw fieldError(record.tools, 'a list of tools', at);
  return tools.length === 0 ? null : tools;
}

/** @throws DataError when the text is no JSON */
export function parseJson(text: string, at: Place): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new DataError(`Expected JSON (${(cause as Error).message}).`, { ...at, cause });
  }
}

interface Place extends Where {
  readonly field: string;
}

/**
 * A value as JSON has it.
 *
 * @throws DataError for more than MAX_DEPTH levels of nesting
 */
export function plainJson(value: unknown, at: Place, level = 0): unknown {
  if (level > MAX_DEPTH)
    throw new DataError(`The value has more than ${MAX_DEPTH} levels of nesting.`, { ...at });
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(item => plainJson(item, at, level + 1));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [name, plainJson(field, at, level + 1)]),
  );
}
