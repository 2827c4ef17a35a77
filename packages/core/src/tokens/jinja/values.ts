/**
 * The values of a template, as Python has them. int is bigint and float is number, so that 1 and 1.0 print as they
 * should; str, bool and None are JavaScript's own; a list is an array.
 */
import { spendOnItems, spendOnNewItems, spendOnText } from './budget.js';
import { TemplateFailure, UnsupportedConstruct } from './errors.js';

export type Value =
  | undefined
  | null
  | boolean
  | bigint
  | number
  | string
  | Value[]
  | Undefined
  | Tuple
  | Dict
  | DictView
  | Range
  | Lazy
  | Markup
  | Instance;

/** jinja2's Undefined: prints as nothing, is false and empty; everything else fails with its message. */
export class Undefined {
  constructor(readonly message: string) {}
}

export class Tuple {
  /** @param names attributes of a named tuple */
  constructor(
    readonly items: readonly Value[],
    readonly names: readonly string[] = [],
  ) {}
}

/** A str that |safe or |escape has marked: adding to it escapes what is added. */
export class Markup {
  constructor(readonly text: string) {}
}

/** A generator: it can be walked over once. */
export class Lazy {
  constructor(readonly iterator: Iterator<Value>) {}
}

/** Python's range. */
export class Range {
  readonly length: number;
  constructor(
    readonly start: bigint,
    readonly stop: bigint,
    readonly step: bigint,
  ) {
    const span = step > 0n ? stop - start : start - stop;
    const stride = step > 0n ? step : -step;
    this.length = span <= 0n ? 0 : Number((span + stride - 1n) / stride);
  }

  at(index: number): bigint {
    return this.start + BigInt(index) * this.step;
  }
}

type Key = string | number | bigint | null | symbol | object;

const UNDEFINED_KEY = Symbol('undefined');

/** What two equal Python values have in common: 1, 1.0 and True are one key. */
function keyOf(value: Value): Key {
  if (typeof value === 'string' || value === null || typeof value === 'bigint') return value;
  if (typeof value === 'boolean') return value ? 1n : 0n;
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value;
  if (value instanceof Undefined) return UNDEFINED_KEY;
  if (value instanceof Tuple) throw new UnsupportedConstruct('a tuple as the key of a dict or in a set');
  if (value instanceof Markup) return value.text;
  if (value instanceof Instance) return value;
  throw new TemplateFailure(`unhashable type: '${typeName(value)}'`);
}

/** A dict, in the order of insertion. */
export class Dict {
  private readonly entries = new Map<Key, [Value, Value]>();

  constructor(items: Iterable<readonly [Value, Value]> = []) {
    for (const [key, value] of items) this.set(key, value);
  }

  get size(): number {
    return this.entries.size;
  }

  get(key: Value): Value {
    return this.entries.get(keyOf(key))?.[1];
  }

  has(key: Value): boolean {
    return this.entries.has(keyOf(key));
  }

  set(key: Value, value: Value): void {
    const hashed = keyOf(key);
    const entry = this.entries.get(hashed);
    if (entry === undefined) this.entries.set(hashed, [key, value]);
    else entry[1] = value;
  }

  items(): IterableIterator<[Value, Value]> {
    return this.entries.values();
  }
}

/** The result of dict.keys(), values() or items(). */
export class DictView {
  constructor(
    readonly kind: 'keys' | 'values' | 'items',
    readonly dict: Dict,
  ) {}

  *[Symbol.iterator](): IterableIterator<Value> {
    for (const [key, value] of this.dict.items()) {
      yield this.kind === 'keys' ? key : this.kind === 'values' ? value : new Tuple([key, value]);
    }
  }
}

/** An object of jinja2's own, such as a macro or a namespace. */
export abstract class Instance {
  abstract readonly typeName: string;

  /** The attribute, or undefined where it has none of that name. */
  attribute(_name: string): Value {
    return undefined;
  }

  /** How it prints; most show their address in Python. */
  print(): string {
    throw new UnsupportedConstruct(`printing a ${this.typeName}`);
  }
}

export interface Arguments {
  readonly positional: readonly Value[];
  readonly keyword: ReadonlyMap<string, Value>;
}

export class Callable extends Instance {
  readonly typeName: string = 'function';
  constructor(
    readonly name: string,
    readonly call: (args: Arguments) => Value,
  ) {
    super();
  }
}

export class Namespace extends Instance {
  readonly typeName = 'Namespace';
  readonly attributes = new Map<string, Value>();

  override attribute(name: string): Value {
    return this.attributes.get(name);
  }
}

/** Keys that were looked for and not found are `undefined` in JavaScript, never a value of a template. */
export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (value instanceof Undefined) return 'Undefined';
  if (Array.isArray(value)) return 'list';
  if (value instanceof Tuple) return 'tuple';
  if (value instanceof Dict) return 'dict';
  if (value instanceof DictView) return `dict_${value.kind}`;
  if (value instanceof Range) return 'range';
  if (value instanceof Lazy) return 'generator';
  if (value instanceof Markup) return 'Markup';
  if (value instanceof Instance) return value.typeName;
  switch (typeof value) {
    case 'boolean':
      return 'bool';
    case 'bigint':
      return 'int';
    case 'number':
      return 'float';
    default:
      return 'str';
  }
}

export function isTrue(value: Value): boolean {
  if (value instanceof Undefined) return false;
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Tuple) return value.items.length > 0;
  if (value instanceof Dict) return value.size > 0;
  if (value instanceof DictView) return value.dict.size > 0;
  if (value instanceof Range) return value.length > 0;
  if (value instanceof Markup) return value.text !== '';
  if (typeof value === 'number' && Number.isNaN(value)) return true;
  return Boolean(value);
}

/** Whether a text has characters that are two code units in JavaScript and one in Python. */
export const hasPairs = (text: string): boolean => /[\ud800-\udfff]/.test(text);

/** Characters as Python counts them. */
export function textLength(text: string): number {
  spendOnText(text.length);
  if (!hasPairs(text)) return text.length;
  let length = 0;
  for (const _ of text) length++;
  return length;
}

/** len(); undefined where the value has none. */
export function lengthOf(value: Value): number | undefined {
  if (typeof value === 'string') return textLength(value);
  if (value instanceof Markup) return textLength(value.text);
  if (value instanceof Undefined) return 0;
  if (Array.isArray(value)) return value.length;
  if (value instanceof Tuple) return value.items.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof DictView) return value.dict.size;
  if (value instanceof Range) return value.length;
  const length = value instanceof Instance ? value.attribute('length') : undefined;
  return value instanceof Instance && value.typeName === 'LoopContext' ? Number(length) : undefined;
}

function* rangeItems(range: Range): IterableIterator<Value> {
  for (let index = 0; index < range.length; index++) yield range.at(index);
}

function* keysOf(dict: Dict): IterableIterator<Value> {
  for (const [key] of dict.items()) yield key;
}

/** iter(); null where the value cannot be walked over. */
export function iteratorOf(value: Value): Iterator<Value> | null {
  if (typeof value === 'string') return value[Symbol.iterator]();
  if (value instanceof Undefined) return [][Symbol.iterator]();
  if (Array.isArray(value)) return value[Symbol.iterator]();
  if (value instanceof Tuple) return value.items[Symbol.iterator]();
  if (value instanceof Dict) return keysOf(value);
  if (value instanceof DictView) return value[Symbol.iterator]();
  if (value instanceof Range) return rangeItems(value);
  if (value instanceof Lazy) return value.iterator;
  if (value instanceof Markup) throw new UnsupportedConstruct('walking over the result of |safe or |escape');
  return null;
}

/** Walks over a value. @throws TemplateFailure when it cannot be */
export function* iterate(value: Value): IterableIterator<Value> {
  const iterator = iteratorOf(value);
  if (iterator === null) throw new TemplateFailure(`'${typeName(value)}' object is not iterable`);
  for (let next = iterator.next(); !next.done; next = iterator.next()) {
    spendOnItems(1);
    yield next.value;
  }
}

export function listOf(value: Value): Value[] {
  const items: Value[] = [];
  for (const item of iterate(value)) {
    spendOnNewItems(1);
    items.push(item);
  }
  return items;
}

/** @throws TemplateFailure, the error of every operation that jinja2's Undefined does not have */
export function failIfUndefined(...values: readonly Value[]): void {
  for (const value of values) if (value instanceof Undefined) throw new TemplateFailure(value.message);
}

/** Markup read as the str it is. */
export const plain = (value: Value): Value => (value instanceof Markup ? value.text : value);

const isNumber = (value: Value): value is boolean | bigint | number =>
  typeof value === 'bigint' || typeof value === 'number' || typeof value === 'boolean';

/** == */
export function equal(left: Value, right: Value): boolean {
  const a = plain(left);
  const b = plain(right);
  if (typeof a === 'string' && typeof b === 'string') {
    spendOnText(a.length === b.length ? a.length : 0);
    return a === b;
  }
  // biome-ignore lint/suspicious/noDoubleEquals: bigint and number compare by value
  if (isNumber(a) && isNumber(b)) return a == b;
  if (Array.isArray(a) && Array.isArray(b)) return equalItems(a, b);
  if (a instanceof Tuple && b instanceof Tuple) return equalItems(a.items, b.items);
  if (a instanceof Dict && b instanceof Dict) {
    if (a.size !== b.size) return false;
    for (const [key, value] of a.items()) if (!b.has(key) || !same(value, b.get(key))) return false;
    return true;
  }
  if (a instanceof Range && b instanceof Range) {
    if (a.length !== b.length) return false;
    return a.length === 0 || (a.start === b.start && (a.length === 1 || a.step === b.step));
  }
  if (a instanceof DictView && b instanceof DictView && a.kind !== 'values') {
    throw new UnsupportedConstruct('comparing the views of dicts');
  }
  return (a instanceof Undefined && b instanceof Undefined) || a === b;
}

/** What `in` and the items of containers are compared by: identity first, so that nan is in [nan]. */
export const same = (left: Value, right: Value): boolean => left === right || equal(left, right);

function equalItems(left: readonly Value[], right: readonly Value[]): boolean {
  spendOnItems(Math.min(left.length, right.length));
  return left.length === right.length && left.every((item, index) => same(item, right[index]));
}

/** Negative, 0 or positive: by code points, not by code units. */
export function compareTexts(left: string, right: string): number {
  const length = Math.min(left.length, right.length);
  spendOnText(length);
  let index = 0;
  while (index < length && left.charCodeAt(index) === right.charCodeAt(index)) index++;
  if (index === length) return left.length - right.length;
  const a = left.charCodeAt(index);
  const b = right.charCodeAt(index);
  const isPair = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdfff;
  return isPair(a) === isPair(b) ? a - b : isPair(a) ? 1 : -1;
}

/**
 * < between values that can be ordered.
 *
 * @throws TemplateFailure for others
 */
export function lessThan(left: Value, right: Value, operator = '<'): boolean {
  failIfUndefined(left, right);
  const a = plain(left);
  const b = plain(right);
  if (isNumber(a) && isNumber(b)) return a < b;
  if (typeof a === 'string' && typeof b === 'string') return compareTexts(a, b) < 0;
  const items = (value: Value): readonly Value[] | null => (value instanceof Tuple ? value.items : null);
  const [x, y] = Array.isArray(a) && Array.isArray(b) ? [a, b] : [items(a), items(b)];
  if (x === null || y === null) {
    throw new TemplateFailure(
      `'${operator}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`,
    );
  }
  for (let index = 0; index < Math.min(x.length, y.length); index++) {
    spendOnItems(1);
    if (!same(x[index], y[index])) return lessThan(x[index], y[index], operator);
  }
  return x.length < y.length;
}

/** item in container */
export function contains(container: Value, item: Value): boolean {
  const within = plain(container);
  if (typeof within === 'string') {
    const text = plain(item);
    if (typeof text !== 'string') {
      throw new TemplateFailure(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    }
    spendOnText(within.length);
    return within.includes(text);
  }
  if (within instanceof Dict) return within.has(item);
  if (within instanceof DictView && within.kind === 'keys') return within.dict.has(item);
  for (const candidate of iterate(within)) if (same(candidate, item)) return true;
  return false;
}

/** Values of JSON and of options as a template sees them. Whole numbers are int. */
export function fromJavaScript(value: unknown): Value {
  if (value === undefined) return null;
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(fromJavaScript);
  return new Dict(Object.entries(value as object).map(([key, item]) => [key, fromJavaScript(item)] as const));
}
