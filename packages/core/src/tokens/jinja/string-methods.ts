/** The methods of Python's str. */
import { bind, flagArgument, integerArgument, textArgument } from './arguments.js';
import { spendOnNewItems, spendOnNewText, spendOnText } from './budget.js';
import { capitalize, foldCase, isLower, isTitle, isUpper, swapCase, title } from './casing.js';
import { TemplateFailure, UnsupportedConstruct } from './errors.js';
import { WHITE_SPACE } from './lexer.js';
import { isPrintable } from './printing.js';
import { sliceOf } from './slices.js';
import { joinTexts, padText, replaceText, SPACE_CHARACTER, splitLines, strip } from './text.js';
import { type Arguments, listOf, Tuple, textLength, typeName, type Value } from './values.js';

type Method = (text: string, args: Arguments) => Value;

const SPACE_RUN = new RegExp(`[${WHITE_SPACE}]+`, 'g');
/** Numeric_Type=Digit, which regular expressions do not have. */
const DIGITS_BEYOND_DECIMAL =
  /^[²³¹፩-፱᧚⁰⁴-⁹₀-₉①-⑨⑴-⑼⒈-⒐⓪⓵-⓽⓿❶-❾➀-➈➊-➒\u{10a40}-\u{10a43}\u{10e60}-\u{10e68}\u{11052}-\u{1105a}\u{1f100}-\u{1f10a}]$/u;

function stripMethod(sides: 'both' | 'left' | 'right'): Method {
  return (text, args) => {
    const [characters] = bind('strip', args, ['chars?']);
    return strip(text, characters == null ? null : textArgument('strip', characters), sides);
  };
}

function split(text: string, args: Arguments): Value {
  const [separator, limit] = bind('split', args, ['sep?', 'maxsplit?']);
  const most = integerArgument('split', limit, -1);
  spendOnText(text.length);
  if (separator == null) return parts(splitAtSpace(text, most));
  const mark = nonEmpty(textArgument('split', separator));
  const pieces = text.split(mark);
  if (most < 0 || pieces.length <= most + 1) return parts(pieces);
  return parts([...pieces.slice(0, most), pieces.slice(most).join(mark)]);
}

/** Words; the last piece keeps the white space at its end when the limit cuts it off. */
function splitAtSpace(text: string, most: number): string[] {
  const pieces: string[] = [];
  const rest = strip(text, null, 'left');
  let start = 0;
  for (const { 0: run, index } of rest.matchAll(SPACE_RUN)) {
    if (pieces.length === most) break;
    pieces.push(rest.slice(start, index));
    start = index + run.length;
  }
  if (start < rest.length) pieces.push(rest.slice(start));
  return pieces;
}

function rsplit(text: string, args: Arguments): Value {
  const [separator, limit] = bind('rsplit', args, ['sep?', 'maxsplit?']);
  const most = integerArgument('rsplit', limit, -1);
  spendOnText(text.length);
  if (separator == null) {
    const rest = strip(text, null, 'right');
    const words = splitAtSpace(rest, -1);
    if (most < 0 || words.length <= most) return parts(words);
    const runs = [...strip(rest, null, 'left').matchAll(SPACE_RUN)];
    const cut = runs[words.length - most - 1];
    const head =
      cut === undefined ? rest : rest.slice(0, rest.length - strip(rest, null, 'left').length + cut.index);
    return parts([...(head === '' ? [] : [head]), ...words.slice(words.length - most)]);
  }
  const pieces = text.split(nonEmpty(textArgument('rsplit', separator)));
  if (most < 0 || pieces.length <= most + 1) return parts(pieces);
  const head = pieces.slice(0, pieces.length - most).join(separator as string);
  return parts([head, ...pieces.slice(pieces.length - most)]);
}

function parts(pieces: string[]): Value[] {
  spendOnNewItems(pieces.length);
  return pieces;
}

function nonEmpty(separator: string): string {
  if (separator === '') throw new TemplateFailure('empty separator');
  return separator;
}

function partition(fromRight: boolean): Method {
  return (text, args) => {
    const separator = nonEmpty(textArgument('partition', bind('partition', args, ['sep'])[0]));
    spendOnText(text.length);
    const at = fromRight ? text.lastIndexOf(separator) : text.indexOf(separator);
    if (at === -1) return new Tuple(fromRight ? ['', '', text] : [text, '', '']);
    return new Tuple([text.slice(0, at), separator, text.slice(at + separator.length)]);
  };
}

/** The part of a text that `start` and `end` name, and where it begins, in characters. */
function window(text: string, start: Value, end: Value): { part: string; offset: number } | null {
  if (start == null && end == null) return { part: text, offset: 0 };
  const length = textLength(text);
  const from = integerArgument('start', start ?? 0n);
  const to = integerArgument('end', end ?? BigInt(length));
  const offset = from < 0 ? Math.max(0, from + length) : from;
  const stop = to < 0 ? Math.max(0, to + length) : Math.min(to, length);
  if (offset > stop) return null;
  const bounds = { start: BigInt(offset), stop: BigInt(stop), step: null };
  return { part: sliceOf(text, bounds) as string, offset };
}

function find(name: string, fromRight: boolean, mustFind: boolean): Method {
  return (text, args) => {
    const [sub, start, end] = bind(name, args, ['sub', 'start?', 'end?']);
    const wanted = textArgument(name, sub);
    spendOnText(text.length);
    const within = window(text, start, end);
    const at =
      within === null ? -1 : fromRight ? within.part.lastIndexOf(wanted) : within.part.indexOf(wanted);
    if (at === -1 && mustFind) throw new TemplateFailure('substring not found');
    return BigInt(at === -1 ? -1 : within!.offset + textLength(within!.part.slice(0, at)));
  };
}

function count(text: string, args: Arguments): Value {
  const [sub, start, end] = bind('count', args, ['sub', 'start?', 'end?']);
  const wanted = textArgument('count', sub);
  spendOnText(text.length);
  const within = window(text, start, end);
  if (within === null) return 0n;
  return BigInt(wanted === '' ? textLength(within.part) + 1 : within.part.split(wanted).length - 1);
}

function affix(name: 'startsWith' | 'endsWith'): Method {
  return (text, args) => {
    const [wanted, start, end] = bind(name.toLowerCase(), args, ['prefix', 'start?', 'end?']);
    const within = window(text, start, end);
    const choices = wanted instanceof Tuple ? wanted.items : [wanted];
    return choices.some(choice => {
      const affixText = textArgument(name.toLowerCase(), choice);
      return within?.part[name](affixText) ?? false;
    });
  };
}

function pad(name: string): Method {
  return (text, args) => {
    const [width, fill] = bind(name, args, ['width', 'fillchar?']);
    const character = fill === undefined ? ' ' : textArgument(name, fill);
    if (textLength(character) !== 1)
      throw new TemplateFailure('The fill character must be exactly one character long');
    return padText(
      text,
      integerArgument(name, width),
      character,
      name === 'center' ? 'center' : name === 'ljust' ? 'left' : 'right',
    );
  };
}

function zfill(text: string, args: Arguments): Value {
  const width = integerArgument('zfill', bind('zfill', args, ['width'])[0]);
  const sign = /^[+-]/.exec(text)?.[0] ?? '';
  return sign + padText(text.slice(sign.length), width - sign.length, '0', 'right');
}

function expandTabs(text: string, args: Arguments): Value {
  const size = integerArgument('expandtabs', bind('expandtabs', args, ['tabsize?'])[0], 8);
  let column = 0;
  let result = '';
  for (const character of text) {
    if (character === '\t') {
      const width = size > 0 ? size - (column % size) : 0;
      spendOnNewText(width);
      result += ' '.repeat(width);
      column += width;
    } else {
      result += character;
      column = character === '\n' || character === '\r' ? 0 : column + 1;
    }
  }
  return result;
}

function join(text: string, args: Arguments): Value {
  const items = listOf(bind('join', args, ['iterable'])[0]).map(item => {
    if (typeof item !== 'string') {
      throw new TemplateFailure(`sequence item: expected str instance, ${typeName(item)} found`);
    }
    return item;
  });
  return joinTexts(text, items);
}

/** A method without arguments that makes a text of about the same length, or a truth value. */
function simple(name: string, apply: (text: string) => Value): Method {
  return (text, args) => {
    bind(name, args, []);
    spendOnText(text.length * 4);
    return apply(text);
  };
}

const all =
  (pattern: RegExp): ((text: string) => boolean) =>
  text =>
    text !== '' && Array.from(text).every(character => pattern.test(character));

function isNumeric(text: string): boolean {
  if (/\p{Script=Han}/u.test(text)) throw new UnsupportedConstruct('isnumeric() of Chinese characters');
  return all(/\p{N}/u)(text);
}

function isDigit(text: string): boolean {
  return (
    text !== '' &&
    Array.from(text).every(character => /\p{Nd}/u.test(character) || DIGITS_BEYOND_DECIMAL.test(character))
  );
}

const remove = (name: 'removeprefix' | 'removesuffix'): Method => {
  return (text, args) => {
    const affixText = textArgument(name, bind(name, args, ['affix'])[0]);
    if (affixText === '') return text;
    if (name === 'removeprefix') return text.startsWith(affixText) ? text.slice(affixText.length) : text;
    return text.endsWith(affixText) ? text.slice(0, -affixText.length) : text;
  };
};

const METHODS: ReadonlyMap<string, Method> = new Map<string, Method>([
  ['capitalize', simple('capitalize', capitalize)],
  ['casefold', simple('casefold', foldCase)],
  ['center', pad('center')],
  ['count', count],
  ['endswith', affix('endsWith')],
  ['expandtabs', expandTabs],
  ['find', find('find', false, false)],
  ['index', find('index', false, true)],
  ['isalnum', simple('isalnum', all(/[\p{L}\p{N}]/u))],
  ['isalpha', simple('isalpha', all(/\p{L}/u))],
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the whole of ASCII
  ['isascii', simple('isascii', text => /^[\x00-\x7f]*$/.test(text))],
  ['isdecimal', simple('isdecimal', all(/\p{Nd}/u))],
  ['isdigit', simple('isdigit', isDigit)],
  ['isidentifier', simple('isidentifier', text => /^[\p{ID_Start}_][\p{ID_Continue}]*$/u.test(text))],
  ['islower', simple('islower', isLower)],
  ['isnumeric', simple('isnumeric', isNumeric)],
  ['isprintable', simple('isprintable', text => Array.from(text).every(isPrintable))],
  ['isspace', simple('isspace', all(SPACE_CHARACTER))],
  ['istitle', simple('istitle', isTitle)],
  ['isupper', simple('isupper', isUpper)],
  ['join', join],
  ['ljust', pad('ljust')],
  ['lower', simple('lower', text => text.toLowerCase())],
  ['lstrip', stripMethod('left')],
  ['partition', partition(false)],
  ['removeprefix', remove('removeprefix')],
  ['removesuffix', remove('removesuffix')],
  ['replace', replace],
  ['rfind', find('rfind', true, false)],
  ['rindex', find('rindex', true, true)],
  ['rjust', pad('rjust')],
  ['rpartition', partition(true)],
  ['rsplit', rsplit],
  ['rstrip', stripMethod('right')],
  ['split', split],
  ['splitlines', splitLinesMethod],
  ['startswith', affix('startsWith')],
  ['strip', stripMethod('both')],
  ['swapcase', simple('swapcase', swapCase)],
  ['title', simple('title', title)],
  ['upper', simple('upper', text => text.toUpperCase())],
  ['zfill', zfill],
]);

function replace(text: string, args: Arguments): Value {
  const [old, replacement, times] = bind('replace', args, ['old', 'new', 'count?']);
  return replaceText(
    text,
    textArgument('replace', old),
    textArgument('replace', replacement),
    integerArgument('replace', times, -1),
  );
}

function splitLinesMethod(text: string, args: Arguments): Value {
  const [keepEnds] = bind('splitlines', args, ['keepends?']);
  return splitLines(text, flagArgument('splitlines', keepEnds));
}

const REFUSED_METHODS: ReadonlySet<string> = new Set(['encode', 'format_map', 'maketrans', 'translate']);

/** The methods whose arguments may be given by name. */
const WITH_KEYWORDS: ReadonlySet<string> = new Set([
  'expandtabs',
  'replace',
  'rsplit',
  'split',
  'splitlines',
]);

/** A method of str by name; null when Python has none of that name. @throws UnsupportedConstruct */
export function textMethod(name: string): Method | null {
  if (REFUSED_METHODS.has(name)) throw new UnsupportedConstruct(`the method .${name}() of text`);
  const method = METHODS.get(name);
  if (method === undefined) return null;
  return (text, args) => {
    if (args.keyword.size > 0 && !WITH_KEYWORDS.has(name)) {
      throw new TemplateFailure(`${name}() takes no keyword arguments`);
    }
    return method(text, args);
  };
}
