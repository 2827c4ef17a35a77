/** |int and |float: text to numbers as Python reads them. */
import { UnsupportedConstruct } from './errors.js';
import { strip } from './text.js';
import { failIfUndefined, isTrue, plain, type Value } from './values.js';

const DECIMAL = /^[+-]?(?:(?:\d+(?:_\d+)*)?\.\d+(?:_\d+)*|\d+(?:_\d+)*\.?)(?:e[+-]?\d+(?:_\d+)*)?$/i;
const INFINITE = /^([+-]?)(?:inf(?:inity)?|(nan))$/i;

/** float(text); null where it is not a number. */
function parseFloatText(text: string): number | null {
  const digits = ascii(strip(text, null, 'both'));
  const special = INFINITE.exec(digits);
  if (special !== null)
    return special[2] !== undefined ? Number.NaN : special[1] === '-' ? -Infinity : Infinity;
  return DECIMAL.test(digits) ? Number(digits.replaceAll('_', '')) : null;
}

/** int(text, base); null where it is not a whole number. */
function parseIntegerText(text: string, base: number): bigint | null {
  const [, sign, prefix, digits] =
    /^([+-]?)(?:0([xob])_?)?([\da-z]+(?:_[\da-z]+)*)$/i.exec(ascii(strip(text, null, 'both'))) ?? [];
  if (digits === undefined) return null;
  const radix = { x: 16, o: 8, b: 2 }[prefix?.toLowerCase() as 'x'] ?? base;
  if (radix === 0 || base === 0 || (prefix !== undefined && radix !== base)) return ambiguous(text, base);
  const plainDigits = digits.replaceAll('_', '').toLowerCase();
  if (plainDigits.length > 4300) return null;
  let value = 0n;
  for (const digit of plainDigits) {
    const worth = Number.parseInt(digit, 36);
    if (worth >= radix) return null;
    value = value * BigInt(radix) + BigInt(worth);
  }
  return sign === '-' ? -value : value;
}

/** 0x10 in base 10 is no number; in base 0, or 0b1 in base 16, Python has rules that nobody needs here. */
function ambiguous(text: string, base: number): null {
  if (base === 10) return null;
  throw new UnsupportedConstruct(`|int of "${text}" in base ${base}`);
}

function ascii(text: string): string {
  if (/[^\P{Nd}0-9]/u.test(text)) throw new UnsupportedConstruct('a number in digits beyond ASCII');
  return text;
}

/** @returns undefined (JavaScript's) where Python fails */
export function toInteger(value: Value, base: number): Value {
  failIfUndefined(value);
  const source = plain(value);
  if (typeof source === 'boolean') return source ? 1n : 0n;
  if (typeof source === 'bigint') return source;
  const whole = typeof source === 'string' ? parseIntegerText(source, base) : null;
  if (whole !== null) return whole;
  const float =
    typeof source === 'number' ? source : typeof source === 'string' ? parseFloatText(source) : null;
  if (float === null || Number.isNaN(float)) return undefined;
  if (Number.isFinite(float)) return BigInt(Math.trunc(float));
  if (typeof source === 'number') throw new UnsupportedConstruct('|int of an infinite number');
  return undefined;
}

/** @returns undefined (JavaScript's) where Python fails */
export function toFloat(value: Value): Value {
  failIfUndefined(value);
  const source = plain(value);
  if (typeof source === 'number') return source;
  if (typeof source === 'bigint') return Number(source);
  if (typeof source === 'boolean') return isTrue(source) ? 1 : 0;
  const float = typeof source === 'string' ? parseFloatText(source) : null;
  return float === null ? undefined : float;
}
