/** The filters of jinja2 that walk over many values. */
import { bind, flagArgument as flag, integerArgument, textArgument } from './arguments.js';
import { itemOf } from './attributes.js';
import { spendOnItems, spendOnNewItems } from './budget.js';
import { TemplateFailure } from './errors.js';
import { binary } from './operators.js';
import { textOf } from './printing.js';
import { applyTest } from './tests.js';
import { joinTexts } from './text.js';
import {
  type Arguments,
  Dict,
  equal,
  isTrue,
  iterate,
  iteratorOf,
  Lazy,
  lessThan,
  listOf,
  Markup,
  plain,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

export type ApplyFilter = (name: string, value: Value, args: Arguments) => Value;

type Filter = (value: Value, args: Arguments) => Value;
type Getter = (item: Value) => Value;

/** 'a.b.0' as a way into a value; the value itself without a path. */
function getter(path: Value, initial: Value = undefined): Getter {
  if (path == null) return item => item;
  const steps: Value[] =
    typeof path === 'string'
      ? path.split('.').map(step => (/^\d+$/.test(step) ? BigInt(step) : step))
      : [path];
  return item =>
    steps.reduce((value, step) => {
      const next = itemOf(value, step);
      return initial != null && next instanceof Undefined ? initial : next;
    }, item);
}

const ignoringCase = (value: Value): Value => {
  const text = plain(value);
  return typeof text === 'string' ? text.toLowerCase() : value;
};

const isOn = (flag: Value): boolean => flag !== undefined && isTrue(flag);

/** A getter whose texts compare without regard to case, unless it is asked for. */
const keyGetter = (path: Value, caseSensitive: Value, initial: Value = undefined): Getter => {
  const get = getter(path, initial);
  return isOn(caseSensitive) ? get : item => ignoringCase(get(item));
};

/** Items in the order of their keys; equal ones stay as they are, also in reverse. */
function sorted(items: readonly Value[], key: Getter, reverse: boolean): Value[] {
  const keyed = items.map(item => ({ item, key: key(item) }));
  spendOnNewItems(keyed.length);
  const order = (a: Value, b: Value): number => (lessThan(a, b) ? -1 : lessThan(b, a) ? 1 : 0);
  keyed.sort((a, b) => {
    spendOnItems(4);
    return reverse ? order(b.key, a.key) : order(a.key, b.key);
  });
  return keyed.map(({ item }) => item);
}

function sort(value: Value, args: Arguments): Value {
  const [reverse, caseSensitive, attribute] = bind('sort', args, [
    'reverse?',
    'case_sensitive?',
    'attribute?',
  ]);
  const paths: Value[] = typeof attribute === 'string' ? attribute.split(',') : [attribute];
  const keys = paths.map(path => keyGetter(path, caseSensitive));
  return sorted(listOf(value), item => keys.map(key => key(item)), flag('sort', reverse));
}

function dictSort(value: Value, args: Arguments): Value {
  const [caseSensitive, by = 'key', reverse] = bind('dictsort', args, ['case_sensitive?', 'by?', 'reverse?']);
  if (by !== 'key' && by !== 'value')
    throw new TemplateFailure('You can only sort by either "key" or "value"');
  const items = dictOf(value).map(([key, item]) => new Tuple([key, item]));
  const position = by === 'key' ? 0 : 1;
  const key = (pair: Value): Value => {
    const part = (pair as Tuple).items[position];
    return isOn(caseSensitive) ? part : ignoringCase(part);
  };
  return sorted(items, key, flag('dictsort', reverse));
}

function dictOf(value: Value): [Value, Value][] {
  if (!(value instanceof Dict)) throw new TemplateFailure(`a dict expected, not ${typeName(value)}`);
  spendOnNewItems(value.size);
  return [...value.items()];
}

function* items(value: Value, args: Arguments): IterableIterator<Value> {
  bind('items', args, []);
  if (value instanceof Undefined) return;
  for (const [key, item] of dictOf(value)) yield new Tuple([key, item]);
}

function* unique(value: Value, args: Arguments): IterableIterator<Value> {
  const [caseSensitive, attribute] = bind('unique', args, ['case_sensitive?', 'attribute?']);
  const key = keyGetter(attribute, caseSensitive);
  const seen = new Dict();
  for (const item of iterate(value)) {
    const itemKey = key(item);
    if (seen.has(itemKey)) continue;
    seen.set(itemKey, null);
    yield item;
  }
}

function extreme(name: 'min' | 'max'): Filter {
  return (value, args) => {
    const [caseSensitive, attribute] = bind(name, args, ['case_sensitive?', 'attribute?']);
    const key = keyGetter(attribute, caseSensitive);
    let best: { item: Value; key: Value } | null = null;
    for (const item of iterate(value)) {
      const itemKey = key(item);
      const isBetter =
        best === null || (name === 'min' ? lessThan(itemKey, best.key) : lessThan(best.key, itemKey, '>'));
      if (isBetter) best = { item, key: itemKey };
    }
    return best === null ? new Undefined('No aggregated item, sequence was empty.') : best.item;
  };
}

function join(value: Value, args: Arguments): Value {
  const [separator = '', attribute] = bind('join', args, ['d?', 'attribute?']);
  const get = getter(attribute);
  const texts = listOf(plain(value)).map(item => textOf(get(item)));
  return joinTexts(textOf(separator), texts);
}

function list(value: Value, args: Arguments): Value {
  bind('list', args, []);
  return listOf(value);
}

function first(value: Value, args: Arguments): Value {
  bind('first', args, []);
  const iterator = iteratorOf(value);
  if (iterator === null) throw new TemplateFailure(`'${typeName(value)}' object is not iterable`);
  const next = iterator.next();
  return next.done ? new Undefined('No first item, sequence was empty.') : next.value;
}

function last(value: Value, args: Arguments): Value {
  bind('last', args, []);
  if (value instanceof Lazy) throw new TemplateFailure("'generator' object is not reversible");
  const all = listOf(value);
  return all.length === 0 ? new Undefined('No last item, sequence was empty.') : all.at(-1);
}

function reverse(value: Value, args: Arguments): Value {
  bind('reverse', args, []);
  const all = listOf(value).reverse();
  if (typeof value === 'string') return all.join('');
  return value instanceof Lazy ? all : new Lazy(all[Symbol.iterator]());
}

function* batch(value: Value, args: Arguments): IterableIterator<Value> {
  const [size, fill] = bind('batch', args, ['linecount', 'fill_with?']);
  const count = integerArgument('batch', size);
  let row: Value[] = [];
  for (const item of iterate(value)) {
    if (row.length === count) {
      yield row;
      row = [];
    }
    row.push(item);
  }
  if (row.length === 0) return;
  if (fill != null && row.length < count) {
    spendOnNewItems(count);
    row.push(...Array.from({ length: count - row.length }, () => fill));
  }
  yield row;
}

function* slices(value: Value, args: Arguments): IterableIterator<Value> {
  const [number, fill] = bind('slice', args, ['slices', 'fill_with?']);
  const count = integerArgument('slice', number);
  const all = listOf(value);
  if (count === 0) throw new TemplateFailure('integer division or modulo by zero');
  const [size, longer] = [Math.floor(all.length / count), all.length % count];
  let start = 0;
  for (let index = 0; index < count; index++) {
    const end = start + size + (index < longer ? 1 : 0);
    const row = all.slice(start, end);
    if (fill != null && index >= longer) row.push(fill);
    spendOnNewItems(row.length + 1);
    yield row;
    start = end;
  }
}

function groupBy(value: Value, args: Arguments): Value {
  const names = ['attribute', 'default?', 'case_sensitive?'];
  const [attribute, initial, caseSensitive] = bind('groupby', args, names);
  const key = keyGetter(attribute, caseSensitive, initial);
  const shown = getter(attribute, initial);
  const groups: { key: Value; members: Value[] }[] = [];
  for (const item of sorted(listOf(value), key, false)) {
    const itemKey = key(item);
    const group = groups.at(-1);
    if (group !== undefined && equal(group.key, itemKey)) group.members.push(item);
    else groups.push({ key: itemKey, members: [item] });
  }
  return groups.map(({ members }) => new Tuple([shown(members[0]), members], ['grouper', 'list']));
}

function sum(value: Value, args: Arguments): Value {
  const [attribute, start = 0n] = bind('sum', args, ['attribute?', 'start?']);
  if (typeof start === 'string' || start instanceof Markup) {
    throw new TemplateFailure("sum() can't sum strings [use ''.join(seq) instead]");
  }
  const get = getter(attribute);
  let total: Value = start;
  for (const item of iterate(value)) total = binary('+', total, get(item));
  return total;
}

/** The rest of the arguments, for the filter or test that the first one names. */
function named(args: Arguments, from: number): { name: string; rest: Arguments } {
  const name = textArgument('the name', args.positional[from]);
  return { name, rest: { positional: args.positional.slice(from + 1), keyword: args.keyword } };
}

function* map(value: Value, args: Arguments, applyFilter: ApplyFilter): IterableIterator<Value> {
  if (!isTrue(value) && !(value instanceof Lazy)) return;
  let apply: Getter;
  if (args.positional.length === 0 && args.keyword.has('attribute')) {
    const [attribute, initial] = bind('map', args, ['attribute', 'default?']);
    apply = getter(attribute, initial);
  } else {
    if (args.positional.length === 0) throw new TemplateFailure('map requires a filter argument');
    const { name, rest } = named(args, 0);
    apply = item => applyFilter(name, item, rest);
  }
  for (const item of iterate(value)) yield apply(item);
}

function select(keeps: boolean, byAttribute: boolean) {
  return function* (value: Value, args: Arguments): IterableIterator<Value> {
    if (!isTrue(value) && !(value instanceof Lazy)) return;
    const offset = byAttribute ? 1 : 0;
    if (args.positional.length < offset) throw new TemplateFailure('Missing parameter for attribute name');
    const get = byAttribute ? getter(args.positional[0]) : (item: Value) => item;
    const test = args.positional.length > offset ? named(args, offset) : null;
    for (const item of iterate(value)) {
      const subject = get(item);
      const holds = test === null ? isTrue(subject) : applyTest(test.name, subject, test.rest);
      if (holds === keeps) yield item;
    }
  };
}

const lazily =
  (filter: (value: Value, args: Arguments) => Iterator<Value>): Filter =>
  (value, args) =>
    new Lazy(filter(value, args));

export function sequenceFilters(applyFilter: ApplyFilter): readonly (readonly [string, Filter])[] {
  return [
    ['batch', lazily(batch)],
    ['dictsort', dictSort],
    ['first', first],
    ['groupby', groupBy],
    ['items', lazily(items)],
    ['join', join],
    ['last', last],
    ['list', list],
    ['map', lazily((value, args) => map(value, args, applyFilter))],
    ['max', extreme('max')],
    ['min', extreme('min')],
    ['reject', lazily(select(false, false))],
    ['rejectattr', lazily(select(false, true))],
    ['reverse', reverse],
    ['select', lazily(select(true, false))],
    ['selectattr', lazily(select(true, true))],
    ['slice', lazily(slices)],
    ['sort', sort],
    ['sum', sum],
    ['unique', lazily(unique)],
  ];
}
