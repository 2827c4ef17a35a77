/** Python's two ways to format: 'text %s' % values and 'text {}'.format(values). */
import { integerArgument } from './arguments.js';
import { spendOnNewText } from './budget.js';
import { TemplateFailure, UnsupportedConstruct } from './errors.js';
import { exponentText, fixedDigits, floatText, significantDigits } from './numbers.js';
import { representation, textOf } from './printing.js';
import { padText } from './text.js';
import {
  type Arguments,
  Dict,
  failIfUndefined,
  Range,
  Tuple,
  textLength,
  typeName,
  Undefined,
  type Value,
} from './values.js';

const CONVERSION = /%(?:\(([^)]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d*))?[hlL]?([\s\S])/g;

/** 'format' % values */
export function formatPercent(format: string, values: Value): string {
  const items = values instanceof Tuple ? values.items : [values];
  const mapping = values instanceof Dict ? values : null;
  let used = 0;
  if (/%(?:\([^)]*\))?[-+ #0]*\d*(?:\.\d*)?[hlL]?$/.test(format.replace(CONVERSION, ''))) {
    throw new TemplateFailure('incomplete format');
  }
  const text = format.replace(CONVERSION, (_whole, key, flags, width, precision, type) => {
    if (width === '*' || precision === '*') throw new UnsupportedConstruct('a format with a width of *');
    if (type === '%') return '%';
    let value: Value;
    if (key !== undefined) {
      if (mapping === null) throw new TemplateFailure('format requires a mapping');
      value = mapping.get(key);
      if (value === undefined) throw new TemplateFailure(`KeyError: '${key}'`);
      used = items.length;
    } else {
      if (used >= items.length) throw new TemplateFailure('not enough arguments for format string');
      value = items[used++];
    }
    return convert(value, { flags, width: size(width), precision: precision && size(precision), type });
  });
  // What can be subscribed, tuples and text aside, counts as a mapping, of which not all must be used.
  const isMapping =
    mapping !== null || Array.isArray(values) || values instanceof Range || values instanceof Undefined;
  if (used < items.length && !isMapping) {
    throw new TemplateFailure('not all arguments converted during string formatting');
  }
  spendOnNewText(text.length);
  return text;
}

interface Conversion {
  readonly flags: string;
  readonly width: number;
  readonly precision: number | '' | undefined;
  readonly type: string;
}

function convert(value: Value, { flags, width, precision, type }: Conversion): string {
  const places = precision === '' ? 0 : precision;
  const zero = flags.includes('0') && !flags.includes('-');
  const finish = (sign: string, digits: string): string =>
    justify(sign, digits, width, zero ? '0' : ' ', flags.includes('-') ? '<' : zero ? '=' : '>');
  const plus = flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
  if (type === 's' || type === 'r') {
    const text = type === 's' ? textOf(value) : representation(value);
    const cut = places === undefined ? text : Array.from(text).slice(0, places).join('');
    return justify('', cut, width, ' ', flags.includes('-') ? '<' : '>');
  }
  if (type === 'c') {
    if (typeof value === 'bigint') return finish('', String.fromCodePoint(integerArgument('%c', value)));
    if (typeof value === 'string' && textLength(value) === 1) return finish('', value);
    throw new TemplateFailure('%c requires int or char');
  }
  if ('diu'.includes(type)) {
    const whole = wholeNumber(value, type);
    return finish(whole < 0n ? '-' : plus, String(whole < 0n ? -whole : whole).padStart(places ?? 0, '0'));
  }
  if ('xXo'.includes(type)) {
    if (typeof value !== 'bigint' && typeof value !== 'boolean') {
      throw new TemplateFailure(`%${type} format: an integer is required, not ${typeName(value)}`);
    }
    const whole = BigInt(value);
    const digits = radixDigits(whole < 0n ? -whole : whole, type).padStart(places ?? 0, '0');
    const prefix = flags.includes('#') ? `0${type}` : '';
    return finish((whole < 0n ? '-' : plus) + prefix, digits);
  }
  if ('eEfFgG'.includes(type)) {
    const number = floatOf(value);
    const sign = number < 0 || Object.is(number, -0) ? '-' : plus;
    return finish(sign, floatDigits(number, type, places ?? 6, flags.includes('#')));
  }
  if (type === 'a') throw new UnsupportedConstruct('the format %a');
  throw new TemplateFailure(`unsupported format character '${type}'`);
}

function wholeNumber(value: Value, type: string): bigint {
  if (typeof value === 'bigint' || typeof value === 'boolean') return BigInt(value);
  if (typeof value === 'number' && Number.isFinite(value)) return BigInt(Math.trunc(value));
  failIfUndefined(value);
  throw new TemplateFailure(`%${type} format: a real number is required, not ${typeName(value)}`);
}

function floatOf(value: Value): number {
  failIfUndefined(value);
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint' || typeof value === 'boolean') return Number(value);
  throw new TemplateFailure(`must be real number, not ${typeName(value)}`);
}

function radixDigits(value: bigint, type: string): string {
  const digits = value.toString(type === 'o' ? 8 : type === 'b' ? 2 : 16);
  return type === 'X' ? digits.toUpperCase() : digits;
}

/** The digits of |value| in the style of e, f or g. */
function floatDigits(value: number, type: string, precision: number, keepZeros: boolean): string {
  const upper = type === type.toUpperCase();
  if (!Number.isFinite(value)) {
    const text = Number.isNaN(value) ? 'nan' : 'inf';
    return upper ? text.toUpperCase() : text;
  }
  const lower = type.toLowerCase();
  if (lower === 'f') return fixedDigits(value, precision) + (keepZeros && precision === 0 ? '.' : '');
  if (lower === 'e') {
    const { digits, exponent } = significantDigits(value, precision + 1);
    const text = `${withPoint(digits)}${keepZeros && precision === 0 ? '.' : ''}e${exponentText(exponent)}`;
    return upper ? text.toUpperCase() : text;
  }
  if (keepZeros) throw new UnsupportedConstruct('the format %#g');
  const count = precision === 0 ? 1 : precision;
  const { digits, exponent } = significantDigits(value, count);
  const trim = (text: string): string => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);
  if (exponent >= -4 && exponent < count) return trim(fixedDigits(value, count - 1 - exponent));
  const text = `${trim(withPoint(digits))}e${exponentText(exponent)}`;
  return upper ? text.toUpperCase() : text;
}

const withPoint = (digits: string): string =>
  digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : digits;

function justify(sign: string, digits: string, width: number, fill: string, align: string): string {
  if (align === '=') return sign + padText(digits, width - sign.length, fill, 'right');
  const text = sign + digits;
  if (align !== '^') return padText(text, width, fill, align === '<' ? 'left' : 'right');
  const length = textLength(text);
  return padText(
    padText(text, length + Math.floor((width - length) / 2), fill, 'right'),
    width,
    fill,
    'left',
  );
}

function size(digits: string | undefined): number {
  if (digits === undefined || digits === '') return 0;
  if (digits.length > 7) throw new UnsupportedConstruct('a format wider than 10 million characters');
  return Number(digits);
}

/** How {0.name} and {0[key]} go into a value. */
export interface Lookup {
  attribute(object: Value, name: string): Value;
  item(object: Value, index: Value): Value;
}

/** 'format'.format(values) */
export function formatBraces(format: string, args: Arguments, lookup: Lookup): string {
  let automatic = 0;
  let result = '';
  let rest = format;
  while (rest !== '') {
    const brace = rest.search(/[{}]/);
    if (brace === -1) return finishText(result + rest);
    result += rest.slice(0, brace);
    if (rest[brace + 1] === rest[brace]) {
      result += rest[brace];
      rest = rest.slice(brace + 2);
      continue;
    }
    const field = /^\{([^{}!:]*)(?:!([^:{}]*))?(?::([^{}]*))?\}/.exec(rest.slice(brace));
    if (field === null) {
      if (/^\{[^{}]*:[^{}]*\{/.test(rest.slice(brace)))
        throw new UnsupportedConstruct('a format inside a format');
      throw new TemplateFailure("Single '{' or '}' in format string");
    }
    const [whole, path, conversion, specification = ''] = field;
    const name = /^[^.[]*/.exec(path!)![0];
    const value = followPath(
      name === '' ? positional(args, automatic++) : argument(args, name),
      path!.slice(name.length),
      lookup,
    );
    result += formatValue(converted(value, conversion), specification);
    rest = rest.slice(brace + whole.length);
  }
  return finishText(result);
}

function finishText(text: string): string {
  spendOnNewText(text.length);
  return text;
}

function argument(args: Arguments, name: string): Value {
  if (/^\d+$/.test(name)) return positional(args, Number(name));
  const value = args.keyword.get(name);
  if (value === undefined) throw new TemplateFailure(`KeyError: '${name}'`);
  return value;
}

function positional(args: Arguments, index: number): Value {
  const value = args.positional[index];
  if (value === undefined)
    throw new TemplateFailure(`Replacement index ${index} out of range for positional args tuple`);
  return value;
}

function followPath(start: Value, path: string, lookup: Lookup): Value {
  let value = start;
  let rest = path;
  while (rest !== '') {
    const step = /^(?:\.([^.[]+)|\[([^\]]+)\])/.exec(rest);
    if (step === null) throw new TemplateFailure('Empty attribute in format string');
    const [whole, name, key] = step;
    if (name !== undefined) value = lookup.attribute(value, name);
    else value = lookup.item(value, /^\d+$/.test(key!) ? BigInt(key!) : key!);
    rest = rest.slice(whole.length);
  }
  return value;
}

function converted(value: Value, conversion: string | undefined): Value {
  if (conversion === undefined) return value;
  if (conversion === 's') return textOf(value);
  if (conversion === 'r') return representation(value);
  throw new UnsupportedConstruct(`the conversion !${conversion}`);
}

const SPECIFICATION = /^(?:([\s\S])?([<>=^]))?([-+ ])?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([a-zA-Z%])?$/u;

function formatValue(value: Value, specification: string): string {
  if (specification === '') return textOf(value);
  failIfUndefined(value);
  const parsed = SPECIFICATION.exec(specification);
  if (parsed === null) throw new UnsupportedConstruct(`the format specification "${specification}"`);
  const [, fill, align, sign = '-', alternate, zero, width, grouping, precision, type = ''] = parsed;
  if (alternate !== undefined || (zero !== undefined && grouping !== undefined)) {
    throw new UnsupportedConstruct(`the format specification "${specification}"`);
  }
  const space = fill ?? (zero !== undefined ? '0' : ' ');
  const places = precision === undefined ? undefined : size(precision);
  if (typeof value === 'string') {
    if (
      sign !== '-' ||
      zero !== undefined ||
      grouping !== undefined ||
      align === '=' ||
      !['', 's'].includes(type)
    ) {
      throw new UnsupportedConstruct(`the format specification "${specification}" of text`);
    }
    const cut = places === undefined ? value : Array.from(value).slice(0, places).join('');
    return justify('', cut, size(width), space, align ?? '<');
  }
  const { digits, negative } = numberDigits(value, type, places, specification);
  const mark = negative ? '-' : sign === '-' ? '' : sign;
  return justify(
    mark,
    grouped(digits, grouping),
    size(width),
    space,
    align ?? (zero === undefined ? '>' : '='),
  );
}

function numberDigits(
  value: Value,
  type: string,
  places: number | undefined,
  specification: string,
): { digits: string; negative: boolean } {
  const isWhole = typeof value === 'bigint' || typeof value === 'boolean';
  if (isWhole && places === undefined && ['', 'd', 'x', 'X', 'o', 'b'].includes(type)) {
    const whole = BigInt(value as bigint | boolean);
    const magnitude = whole < 0n ? -whole : whole;
    const digits = type === '' || type === 'd' ? magnitude.toString() : radixDigits(magnitude, type);
    return { digits, negative: whole < 0n };
  }
  const isNumber = isWhole || typeof value === 'number';
  if (
    !isNumber ||
    !['', 'e', 'E', 'f', 'F', 'g', 'G', '%'].includes(type) ||
    (type === '' && places !== undefined)
  ) {
    throw new UnsupportedConstruct(`the format specification "${specification}" of a ${typeName(value)}`);
  }
  const number = Number(value);
  const negative = number < 0 || Object.is(number, -0);
  if (type === '') return { digits: floatText(Math.abs(number)), negative };
  if (type === '%') return { digits: `${floatDigits(number * 100, 'f', places ?? 6, false)}%`, negative };
  return { digits: floatDigits(number, type, places ?? 6, false), negative };
}

function grouped(digits: string, separator: string | undefined): string {
  return separator === undefined
    ? digits
    : digits.replace(/^\d+/, whole => whole.replace(/\B(?=(\d{3})+$)/g, separator));
}
