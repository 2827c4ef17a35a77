/** Values as text: str(), repr() and JSON as Python writes them. */
import { spendOnNewText } from './budget.js';
import { TemplateFailure, UnsupportedConstruct } from './errors.js';
import { floatText } from './numbers.js';
import {
  compareTexts,
  Dict,
  DictView,
  Instance,
  iterate,
  Lazy,
  Markup,
  Range,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

/** str(), which is what {{ }} prints. */
export function textOf(value: Value): string {
  if (typeof value === 'string') return value;
  if (value instanceof Markup) return value.text;
  if (value instanceof Undefined) return '';
  return representation(value);
}

/** repr() */
export function representation(value: Value): string {
  const text = represent(value);
  spendOnNewText(text.length);
  return text;
}

function represent(value: Value): string {
  if (typeof value === 'string') return quote(value);
  if (value instanceof Markup) return `Markup(${quote(value.text)})`;
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'bigint') return integerText(value);
  if (typeof value === 'number') return floatText(value);
  if (value instanceof Undefined) return 'Undefined';
  if (Array.isArray(value)) return `[${value.map(representation).join(', ')}]`;
  if (value instanceof Tuple) {
    const items = value.items.map(representation);
    return items.length === 1 ? `(${items[0]},)` : `(${items.join(', ')})`;
  }
  if (value instanceof Dict) {
    return `{${Array.from(value.items(), ([key, item]) => `${representation(key)}: ${representation(item)}`).join(', ')}}`;
  }
  if (value instanceof DictView) return `dict_${value.kind}(${representation([...iterate(value)])})`;
  if (value instanceof Range) {
    return `range(${value.start}, ${value.stop}${value.step === 1n ? '' : `, ${value.step}`})`;
  }
  if (value instanceof Instance) return value.print();
  throw new UnsupportedConstruct(`printing a ${value instanceof Lazy ? 'generator' : typeName(value)}`);
}

/** @throws TemplateFailure beyond 4300 digits, as Python does */
export function integerText(value: bigint): string {
  const text = value.toString();
  if (text.length > 4300)
    throw new TemplateFailure('Exceeds the limit (4300 digits) for integer string conversion');
  return text;
}

/** Characters that repr() escapes. */
const UNPRINTABLE = /[\p{C}\p{Z}]/u;

export const isPrintable = (character: string): boolean => character === ' ' || !UNPRINTABLE.test(character);

function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  let result = mark;
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (character === mark || character === '\\') result += `\\${character}`;
    else if (character === '\n') result += '\\n';
    else if (character === '\r') result += '\\r';
    else if (character === '\t') result += '\\t';
    else if (isPrintable(character)) result += character;
    else if (code < 0x100) result += `\\x${code.toString(16).padStart(2, '0')}`;
    else if (code < 0x10000) result += `\\u${code.toString(16).padStart(4, '0')}`;
    else result += `\\U${code.toString(16).padStart(8, '0')}`;
  }
  return result + mark;
}

export interface JsonOptions {
  readonly ensureAscii: boolean;
  readonly indent: string | null;
  readonly separators: readonly [item: string, key: string];
  readonly sortKeys: boolean;
}

/** json.dumps() @throws TemplateFailure for what JSON does not have, undefined among it */
export function jsonText(value: Value, options: JsonOptions, depth = 0): string {
  const text = writeJson(value, options, depth);
  spendOnNewText(text.length);
  return text;
}

function writeJson(value: Value, options: JsonOptions, depth: number): string {
  if (typeof value === 'string') return jsonString(value, options.ensureAscii);
  if (value instanceof Markup) return jsonString(value.text, options.ensureAscii);
  if (value === null) return 'null';
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'bigint') return integerText(value);
  if (typeof value === 'number') return jsonFloat(value);
  const items = Array.isArray(value) ? value : value instanceof Tuple ? value.items : null;
  if (items !== null) {
    const parts = items.map(item => jsonText(item, options, depth + 1));
    return enclose('[', parts, ']', options, depth);
  }
  if (!(value instanceof Dict)) {
    throw new TemplateFailure(`Object of type ${typeName(value)} is not JSON serializable`);
  }
  const entries = [...value.items()];
  if (options.sortKeys) entries.sort(([left], [right]) => compareKeys(left, right));
  const parts = entries.map(
    ([key, item]) =>
      `${jsonString(keyText(key), options.ensureAscii)}${options.separators[1]}${jsonText(item, options, depth + 1)}`,
  );
  return enclose('{', parts, '}', options, depth);
}

function compareKeys(left: Value, right: Value): number {
  if (typeof left === 'string' && typeof right === 'string') return compareTexts(left, right);
  throw new UnsupportedConstruct('tojson(sort_keys=true) of keys that are not text');
}

function enclose(
  open: string,
  parts: readonly string[],
  close: string,
  { indent, separators }: JsonOptions,
  depth: number,
): string {
  if (parts.length === 0) return open + close;
  if (indent === null) return open + parts.join(separators[0]) + close;
  const inner = `\n${indent.repeat(depth + 1)}`;
  return `${open}${inner}${parts.join(separators[0] + inner)}\n${indent.repeat(depth)}${close}`;
}

function keyText(key: Value): string {
  if (typeof key === 'string') return key;
  if (key === null) return 'null';
  if (typeof key === 'boolean') return String(key);
  if (typeof key === 'bigint') return integerText(key);
  if (typeof key === 'number') return jsonFloat(key);
  throw new TemplateFailure(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function jsonFloat(value: number): string {
  if (Number.isFinite(value)) return floatText(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity';
}

const JSON_ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\f': '\\f',
  '\b': '\\b',
};

function jsonString(text: string, ensureAscii: boolean): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: JSON escapes control characters
  const special = ensureAscii ? /["\\]|[^ -~]/g : /["\\\x00-\x1f]/g;
  const escapeUnit = (unit: string): string =>
    JSON_ESCAPES[unit] ?? `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return `"${text.replace(special, escapeUnit)}"`;
}
