/** The filters of jinja2 that work on one value; those that walk over many are in sequence-filters.ts. */
import { bind, integerArgument, textArgument } from './arguments.js';
import { attributeOnly } from './attributes.js';
import { spendOnNewText, spendOnText } from './budget.js';
import { capitalize } from './casing.js';
import { toFloat, toInteger } from './conversions.js';
import { TemplateFailure, UnsupportedConstruct } from './errors.js';
import { escapeHtml } from './escape.js';
import { formatPercent } from './format.js';
import { WHITE_SPACE } from './lexer.js';
import { roundFloat } from './numbers.js';
import { jsonText, textOf } from './printing.js';
import { type ApplyFilter, sequenceFilters } from './sequence-filters.js';
import { sliceOf } from './slices.js';
import { joinTexts, padText, replaceText, splitLines, strip } from './text.js';
import {
  type Arguments,
  Dict,
  failIfUndefined,
  isTrue,
  lengthOf,
  Markup,
  Tuple,
  textLength,
  typeName,
  Undefined,
  type Value,
} from './values.js';

type Filter = (value: Value, args: Arguments) => Value;

/** A filter without arguments. */
function plainFilter(name: string, apply: (value: Value) => Value): Filter {
  return (value, args) => {
    bind(name, args, []);
    return apply(value);
  };
}

/** Text to text; what was Markup stays so. */
function textFilter(name: string, apply: (text: string) => string): Filter {
  return (value, args) => {
    bind(name, args, []);
    const text = textOf(value);
    spendOnText(text.length * 4);
    return value instanceof Markup ? new Markup(apply(text)) : apply(text);
  };
}

function length(value: Value, args: Arguments): Value {
  bind('length', args, []);
  const count = lengthOf(value);
  if (count === undefined) throw new TemplateFailure(`object of type '${typeName(value)}' has no len()`);
  return BigInt(count);
}

function trim(value: Value, args: Arguments): Value {
  const [characters] = bind('trim', args, ['chars?']);
  const text = strip(textOf(value), characters == null ? null : textArgument('trim', characters), 'both');
  return value instanceof Markup ? new Markup(text) : text;
}

const WORD_START = new RegExp(`([-({\\[<${WHITE_SPACE}]+)`);

/** Words begin behind white space and opening brackets only, other than in str.title(). */
function titleWords(value: Value, args: Arguments): Value {
  bind('title', args, []);
  const text = textOf(value);
  spendOnText(text.length * 4);
  return text
    .split(WORD_START)
    .map(word => {
      const [first = ''] = word;
      return first.toUpperCase() + word.slice(first.length).toLowerCase();
    })
    .join('');
}

function indent(value: Value, args: Arguments): Value {
  const [width, first, blank] = bind('indent', args, ['width?', 'first?', 'blank?']);
  failIfUndefined(value);
  if (typeof value !== 'string') {
    if (value instanceof Markup) throw new UnsupportedConstruct('|indent of the result of |safe or |escape');
    throw new TemplateFailure(`|indent: str expected, not ${typeName(value)}`);
  }
  const margin =
    typeof width === 'string' ? width : ' '.repeat(Math.max(0, integerArgument('indent', width, 4)));
  const lines = splitLines(`${value}\n`);
  spendOnNewText(lines.length * margin.length);
  const isBlank = blank !== undefined && isTrue(blank);
  const indented = lines.map((line, index) =>
    index === 0 || (line === '' && !isBlank) ? line : margin + line,
  );
  return (first !== undefined && isTrue(first) ? margin : '') + joinTexts('\n', indented);
}

function truncate(value: Value, args: Arguments): Value {
  const [limit, killWords, end, leeway] = bind('truncate', args, [
    'length?',
    'killwords?',
    'end?',
    'leeway?',
  ]);
  const most = integerArgument('truncate', limit, 255);
  const mark = end === undefined ? '...' : textArgument('truncate', end);
  const slack = leeway == null ? 5 : integerArgument('truncate', leeway);
  const markLength = textLength(mark);
  if (most < markLength || slack < 0)
    throw new TemplateFailure(`expected length >= ${markLength}, got ${most}`);
  const length = lengthOf(value);
  if (length !== undefined && length <= most + slack) return value;
  const text = textArgument('truncate', value);
  const head = sliceOf(text, { start: null, stop: BigInt(most - markLength), step: null }) as string;
  if (killWords !== undefined && isTrue(killWords)) return head + mark;
  const space = head.lastIndexOf(' ');
  return (space === -1 ? head : head.slice(0, space)) + mark;
}

function replace(value: Value, args: Arguments): Value {
  const [old, replacement, count] = bind('replace', args, ['old', 'new', 'count?']);
  const times = count == null ? -1 : integerArgument('replace', count);
  return replaceText(textOf(value), textOf(old), textOf(replacement), times);
}

function orDefault(value: Value, args: Arguments): Value {
  const [initial, boolean] = bind('default', args, ['default_value?', 'boolean?']);
  const isMissing =
    value instanceof Undefined || (boolean !== undefined && isTrue(boolean) && !isTrue(value));
  if (!isMissing) return value;
  return initial === undefined ? '' : initial;
}

function toJson(value: Value, args: Arguments): Value {
  const names = ['ensure_ascii?', 'indent?', 'separators?', 'sort_keys?'];
  const [ensureAscii, indentation, separators, sortKeys] = bind('tojson', args, names);
  const margin =
    indentation == null ? null : typeof indentation === 'string' ? indentation : jsonMargin(indentation);
  return jsonText(value, {
    ensureAscii: ensureAscii !== undefined && isTrue(ensureAscii),
    indent: margin,
    separators: jsonSeparators(separators) ?? [margin === null ? ', ' : ',', ': '],
    sortKeys: sortKeys !== undefined && isTrue(sortKeys),
  });
}

function jsonMargin(indentation: Value): string {
  if (typeof indentation !== 'bigint')
    throw new UnsupportedConstruct(`|tojson(indent=...) of a ${typeName(indentation)}`);
  return ' '.repeat(Math.max(0, integerArgument('tojson', indentation)));
}

function jsonSeparators(value: Value): [string, string] | null {
  if (value == null) return null;
  const items = value instanceof Tuple ? value.items : Array.isArray(value) ? value : [];
  if (items.length !== 2) throw new TemplateFailure('tojson: separators must be two texts');
  return [textArgument('tojson', items[0]), textArgument('tojson', items[1])];
}

function absolute(value: Value, args: Arguments): Value {
  bind('abs', args, []);
  failIfUndefined(value);
  if (typeof value === 'number') return Math.abs(value);
  if (typeof value !== 'bigint' && typeof value !== 'boolean') {
    throw new TemplateFailure(`bad operand type for abs(): '${typeName(value)}'`);
  }
  const whole = BigInt(value);
  return whole < 0n ? -whole : whole;
}

function round(value: Value, args: Arguments): Value {
  const [precision, method = 'common'] = bind('round', args, ['precision?', 'method?']);
  const places = integerArgument('round', precision, 0);
  failIfUndefined(value);
  if (typeof value !== 'number' && typeof value !== 'bigint' && typeof value !== 'boolean') {
    throw new TemplateFailure(`|round: a number expected, not ${typeName(value)}`);
  }
  if (method === 'common') {
    if (typeof value === 'number') return roundFloat(value, places);
    if (places < 0) throw new UnsupportedConstruct('|round of an integer to tens');
    return BigInt(value);
  }
  if (method !== 'ceil' && method !== 'floor')
    throw new TemplateFailure('method must be common, ceil or floor');
  if (places < 0 || places > 22) throw new UnsupportedConstruct(`|round(${places}, '${method}')`);
  const scale = 10 ** places;
  const scaled = Math[method](Number(value) * scale);
  if (!Number.isSafeInteger(scaled)) throw new UnsupportedConstruct('|round of a number beyond 2^53');
  return (scaled + 0) / scale;
}

function center(value: Value, args: Arguments): Value {
  const width = integerArgument('center', bind('center', args, ['width?'])[0], 80);
  return padText(textOf(value), width, ' ', 'center');
}

function format(value: Value, args: Arguments): Value {
  if (args.positional.length > 0 && args.keyword.size > 0) {
    throw new TemplateFailure("can't handle positional and keyword arguments at the same time");
  }
  return formatPercent(
    textOf(value),
    args.keyword.size > 0 ? new Dict(args.keyword) : new Tuple(args.positional),
  );
}

function withInitial(name: 'int' | 'float'): Filter {
  return (value, args) => {
    const [initial, base] = bind(name, args, name === 'int' ? ['default?', 'base?'] : ['default?']);
    const isText = typeof value === 'string' || value instanceof Markup;
    const result =
      name === 'int' ? toInteger(value, isText ? integerArgument('int', base, 10) : 10) : toFloat(value);
    if (result !== undefined) return result;
    return initial === undefined ? (name === 'int' ? 0n : 0) : initial;
  };
}

function wordCount(value: Value, args: Arguments): Value {
  bind('wordcount', args, []);
  const text = textOf(value);
  spendOnText(text.length * 4);
  return BigInt(text.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0);
}

const VALUE_FILTERS: readonly (readonly [string, Filter])[] = [
  ['abs', absolute],
  ['attr', (value, args) => attributeOnly(value, textArgument('attr', bind('attr', args, ['name'])[0]))],
  ['capitalize', textFilter('capitalize', capitalize)],
  ['center', center],
  ['count', length],
  ['d', orDefault],
  ['default', orDefault],
  ['e', plainFilter('escape', value => new Markup(escapeHtml(value)))],
  ['escape', plainFilter('escape', value => new Markup(escapeHtml(value)))],
  ['float', withInitial('float')],
  ['forceescape', plainFilter('forceescape', value => new Markup(escapeHtml(textOf(value))))],
  ['format', format],
  ['indent', indent],
  ['int', withInitial('int')],
  ['length', length],
  ['lower', textFilter('lower', text => text.toLowerCase())],
  ['replace', replace],
  ['round', round],
  ['safe', plainFilter('safe', value => new Markup(textOf(value)))],
  ['string', plainFilter('string', value => (value instanceof Markup ? value : textOf(value)))],
  ['title', titleWords],
  ['tojson', toJson],
  ['trim', trim],
  ['truncate', truncate],
  ['upper', textFilter('upper', text => text.toUpperCase())],
  ['wordcount', wordCount],
];

/** Filters of jinja2 that no chat template needs. */
const REFUSED_FILTERS: ReadonlySet<string> = new Set([
  'filesizeformat',
  'pprint',
  'random',
  'striptags',
  'urlencode',
  'urlize',
  'wordwrap',
  'xmlattr',
]);

/** @throws TemplateFailure when there is none of that name; UnsupportedConstruct */
export const applyFilter: ApplyFilter = (name, value, args) => {
  const filter = FILTERS.get(name);
  if (filter !== undefined) return filter(value, args);
  if (REFUSED_FILTERS.has(name)) throw new UnsupportedConstruct(`the filter |${name}`);
  throw new TemplateFailure(`No filter named '${name}'.`);
};

const FILTERS: ReadonlyMap<string, Filter> = new Map([...VALUE_FILTERS, ...sequenceFilters(applyFilter)]);
