/** JSON without what JSON.parse lets pass: repeated keys, halves of characters, bytes that are no text. */
import { isUtf8 } from 'node:buffer';
import { DataError } from '../errors.js';

/** Arrays and objects inside each other; no record of text comes near. */
export const MAX_DEPTH = 100;

/** The byte order mark of UTF-8, with which a file may begin. */
export const MARK = Buffer.from('\uFEFF');

export const hasMark = (bytes: Buffer): boolean => bytes.subarray(0, MARK.length).equals(MARK);

/** Whether a byte is white space to JSON. */
export const isWhite = (byte: number): boolean =>
  byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;

export const isBlank = (bytes: Buffer): boolean => bytes.every(isWhite);

/**
 * Decodes and parses one record.
 *
 * @param row named in errors
 * @throws DataError for bytes that are not UTF-8, text that is not JSON or nested too deeply, a key that an object has
 *   twice, and an escaped half of a character
 */
export function parseRecord(bytes: Buffer, file: string, row: number): unknown {
  if (!isUtf8(bytes)) throw notUtf8(bytes, file, row);
  const text = bytes.toString('utf8');
  const { duplicateKey, depth } = inspectJson(text);
  if (depth > MAX_DEPTH) throw tooDeep(file, row);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new DataError(`This is not valid JSON (${(cause as Error).message}).`, {
      file,
      row,
      ...(text.includes('\0') && { hint: 'It looks like UTF-16; save the file as UTF-8.' }),
      cause,
    });
  }
  if (duplicateKey !== undefined) {
    throw new DataError('The record has this key twice.', {
      file,
      row,
      field: duplicateKey,
      hint: 'Remove one of them: it is not clear which is meant.',
    });
  }
  // In well-formed UTF-8 only an escape can write half of a character.
  if (text.includes('\\u') && SURROGATE_ESCAPE.test(text)) {
    const field = loneSurrogate(value, '');
    if (field !== undefined) {
      throw new DataError('The text holds one half of a surrogate pair, which is no character.', {
        file,
        row,
        field,
        hint: 'The text was cut in the middle of a character; repair or remove it.',
      });
    }
  }
  return value;
}

export function tooDeep(file: string, row: number): DataError {
  return new DataError(`The record is nested more than ${MAX_DEPTH} levels deep.`, { file, row });
}

/** Says where a record stops being UTF-8, and what it may be. */
export function notUtf8(bytes: Buffer, file: string, row: number, field?: string): DataError {
  const offset = firstInvalidByte(bytes);
  const value = bytes[offset]!.toString(16).toUpperCase().padStart(2, '0');
  return new DataError(
    `The text is not UTF-8: byte ${offset + 1} of the ${field === undefined ? 'record' : 'field'} is 0x${value}.`,
    {
      file,
      row,
      ...(field !== undefined && { field }),
      hint: isUtf16(bytes)
        ? 'It looks like UTF-16: `iconv -f UTF-16 -t UTF-8` converts it.'
        : 'If it is Latin-1 or Windows-1252, `iconv -f WINDOWS-1252 -t UTF-8` converts it; if it was cut, repair it.',
    },
  );
}

/** Every other byte of most UTF-16 is 0, which is no byte of JSON. */
const isUtf16 = (bytes: Buffer): boolean => bytes.includes(0);

/** The length of the longest prefix that is UTF-8, by bisection; a sequence that the end cuts counts as invalid. */
function firstInvalidByte(bytes: Buffer): number {
  let [valid, invalid] = [0, bytes.length];
  while (invalid - valid > 1) {
    // A prefix that ends inside a character is extended to its end, at most three bytes.
    const middle = (valid + invalid) >> 1;
    const end = [0, 1, 2, 3]
      .map(more => middle + more)
      .find(at => at < invalid && isUtf8(bytes.subarray(0, at)));
    if (end === undefined) invalid = middle;
    else valid = end;
  }
  return valid;
}

/** What a walk over the structure of a JSON text tells, without building its values. */
export interface JsonStructure {
  /** The first key that an object has twice: JSON.parse keeps the last one silently. */
  readonly duplicateKey: string | undefined;
  /** How deep arrays and objects are nested; what is nested deeper than MAX_DEPTH is not looked at any further. */
  readonly depth: number;
}

/**
 * Inspects a text in time linear in its length; from quote to quote of long strings it hardly takes any. Of a text that is
 * not JSON the result means nothing.
 */
export function inspectJson(text: string): JsonStructure {
  const keys: (Set<string> | undefined)[] = [];
  let depth = 0;
  let [start, end] = [0, 0];
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) {
      start = at + 1;
      end = closingQuote(text, start);
      if (end === -1) break;
      at = end;
    } else if (char === COLON) {
      const key = unescaped(text.slice(start, end));
      const own = keys.at(-1) ?? new Set();
      if (own.has(key)) return { duplicateKey: key, depth };
      own.add(key);
      keys[keys.length - 1] = own;
    } else if (char === OPENING_BRACE || char === OPENING_BRACKET) {
      keys.push(undefined);
      depth = Math.max(depth, keys.length);
      if (depth > MAX_DEPTH) break;
    } else if (char === CLOSING_BRACE || char === CLOSING_BRACKET) {
      keys.pop();
    }
  }
  return { duplicateKey: undefined, depth };
}

/** Where the string whose inside begins at `from` ends, or -1. */
function closingQuote(text: string, from: number): number {
  for (let quote = text.indexOf('"', from); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let before = quote - 1;
    while (text.charCodeAt(before) === BACKSLASH) before--;
    if ((quote - before) % 2 === 1) return quote;
  }
  return -1;
}

const [QUOTE, COLON, BACKSLASH] = [0x22, 0x3a, 0x5c];
const [OPENING_BRACE, CLOSING_BRACE] = [0x7b, 0x7d];
const [OPENING_BRACKET, CLOSING_BRACKET] = [0x5b, 0x5d];

function unescaped(key: string): string {
  if (!key.includes('\\')) return key;
  try {
    return JSON.parse(`"${key}"`) as string;
  } catch {
    return key;
  }
}

const SURROGATE_ESCAPE = /\\u[dD][89a-fA-F]/;
const LONE_SURROGATE = /\p{Surrogate}/u;

/** The path of the first text of a value, keys included, that holds half of a surrogate pair. */
function loneSurrogate(value: unknown, path: string): string | undefined {
  if (typeof value === 'string') return LONE_SURROGATE.test(value) ? path : undefined;
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, part] of Object.entries(value)) {
    const place = Array.isArray(value) ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`;
    if (LONE_SURROGATE.test(key)) return place.replace(/\p{Surrogate}/gu, '\uFFFD');
    const found = loneSurrogate(part, place);
    if (found !== undefined) return found;
  }
  return undefined;
}
