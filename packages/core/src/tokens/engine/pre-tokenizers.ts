/** The pre-tokenizers of a tokenizer.json: text to the pieces whose tokens are sought each on its own. */
import { BYTE_CHARACTERS } from './byte-level.js';
import {
  compilePattern,
  everyOne,
  type Found,
  findRegExp,
  isolator,
  PUNCTUATION,
  splitText,
  WHITE_SPACE,
} from './pattern.js';
import type { PreTokenizerSpec, SplitBehavior } from './schema.js';

/**
 * Cuts a text and appends its pieces, none of them empty.
 *
 * @param first whether the text begins the whole text
 * @returns whether the first piece that was appended does
 */
type Cutter = (text: string, first: boolean, pieces: string[]) => boolean;

export interface PreTokenizer {
  readonly cut: Cutter;
  /** What the model gets for a piece: it follows from the piece alone. */
  readonly spell: (piece: string) => string;
}

/** @throws ModelError naming file and field when a pattern cannot be used */
export function buildPreTokenizer(
  spec: PreTokenizerSpec | null | undefined,
  file: string,
  field = 'pre_tokenizer',
): PreTokenizer {
  if (spec === null || spec === undefined) return { cut: keep, spell: unchanged };
  if (spec.type === 'Sequence') {
    return inSequence(
      spec.pretokenizers.map((step, index) =>
        buildPreTokenizer(step, file, `${field}.pretokenizers.${index}`),
      ),
    );
  }
  if (spec.type === 'ByteLevel') return { cut: byteLevel(spec), spell: toByteCharacters };
  return { cut: buildCutter(spec, file, field), spell: unchanged };
}

const unchanged = (piece: string): string => piece;

const keep: Cutter = (text, first, pieces) => {
  pieces.push(text);
  return first;
};

/** Each step cuts the pieces that the last one left, as they are spelt then. */
function inSequence(steps: readonly PreTokenizer[]): PreTokenizer {
  const cutters: Cutter[] = [];
  for (const [index, { cut, spell }] of steps.entries()) {
    if (cut !== keep) cutters.push(cut);
    if (spell !== unchanged && index < steps.length - 1) cutters.push(spelling(spell));
  }
  return {
    cut: cutters.length === 1 ? cutters[0]! : through(cutters),
    spell: steps.at(-1)?.spell ?? unchanged,
  };
}

const spelling =
  (spell: PreTokenizer['spell']): Cutter =>
  (text, first, pieces) =>
    keep(spell(text), first, pieces);

function through(cutters: readonly Cutter[]): Cutter {
  return (text, first, pieces) => {
    let current = [text];
    let begins = first;
    for (const cut of cutters) {
      const next: string[] = [];
      let still = false;
      for (const [index, piece] of current.entries()) {
        const begun = cut(piece, begins && index === 0, next);
        if (index === 0) still = begun;
      }
      current = next;
      begins = still;
    }
    for (const piece of current) pieces.push(piece);
    return begins;
  };
}

type CutterSpec = Exclude<PreTokenizerSpec, { type: 'Sequence' | 'ByteLevel' }>;

function buildCutter(spec: CutterSpec, file: string, field: string): Cutter {
  switch (spec.type) {
    case 'Metaspace':
      return metaspace(spec);
    case 'Split':
      return splitter(compilePattern(spec.pattern, file, `${field}.pattern`), spec.behavior, spec.invert);
    case 'Punctuation':
      return splitter(everyOne(PUNCTUATION), spec.behavior);
    case 'Digits':
      return splitter(/\p{N}/gu, spec.individual_digits ? 'isolated' : 'contiguous');
    case 'CharDelimiterSplit':
      return (text, first, pieces) =>
        append(splitText(findExactly(text, spec.delimiter), 'removed'), first, pieces, text);
    case 'FixedLength':
      return (text, first, pieces) => append(chunks([...text], spec.length), first, pieces);
    case 'Whitespace':
      return splitter(WORDS_AND_SYMBOLS, 'removed', true);
    case 'WhitespaceSplit':
      return splitter(everyOne(WHITE_SPACE), 'removed');
    case 'BertPreTokenizer':
      return through([
        splitter(everyOne(WHITE_SPACE), 'removed'),
        splitter(everyOne(PUNCTUATION), 'isolated'),
      ]);
  }
}

const WORDS_AND_SYMBOLS =
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu;

/** GPT-2's words: contractions, letters, numbers and other signs, each with the space before it, and white space. */
const GPT2_WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

function byteLevel(spec: Extract<PreTokenizerSpec, { type: 'ByteLevel' }>): Cutter {
  const split = spec.use_regex ? splitter(GPT2_WORDS, 'isolated') : keep;
  if (!spec.add_prefix_space) return split;
  return (text, first, pieces) => split(text.startsWith(' ') ? text : ` ${text}`, first, pieces);
}

const encoder = new TextEncoder();

/** Most pieces are short: a loop is faster here than an array of characters. */
function toByteCharacters(text: string): string {
  let result = '';
  for (const byte of encoder.encode(text)) result += BYTE_CHARACTERS[byte];
  return result;
}

function metaspace(spec: Extract<PreTokenizerSpec, { type: 'Metaspace' }>): Cutter {
  const { replacement, prepend_scheme: scheme } = spec;
  return (piece, first, pieces) => {
    const marked = piece.replaceAll(' ', replacement);
    const prepends = scheme === 'always' || (scheme === 'first' && first);
    const text = prepends && !marked.startsWith(replacement) ? replacement + marked : marked;
    if (!spec.split) return keep(text, first, pieces);
    return append(splitText(findExactly(text, replacement), 'mergedwithnext'), first, pieces);
  };
}

/** @param expression with the flag g */
function splitter(expression: RegExp, behavior: SplitBehavior, invert = false): Cutter {
  if (behavior === 'isolated') {
    const isolate = isolator(expression);
    return (text, first, pieces) => {
      isolate(text, pieces);
      return first;
    };
  }
  const find = findRegExp(expression);
  return (text, first, pieces) => append(splitText(find(text), behavior, invert), first, pieces, text);
}

/** Appends the pieces that a text became, without empty ones. @param whole the text that they were cut from */
function append(texts: Iterable<string>, first: boolean, pieces: string[], whole?: string): boolean {
  let begins: boolean | null = null;
  for (const text of texts) {
    if (text === '') continue;
    // What was removed before the first piece takes the beginning away from it.
    begins ??= first && (whole === undefined || whole.startsWith(text));
    pieces.push(text);
  }
  return begins ?? false;
}

function findExactly(text: string, delimiter: string): Found[] {
  return text
    .split(delimiter)
    .flatMap((between, index) => [
      ...(index === 0 ? [] : [{ text: delimiter, matches: true }]),
      ...(between === '' ? [] : [{ text: between, matches: false }]),
    ]);
}

function* chunks(characters: readonly string[], length: number): Generator<string> {
  for (let start = 0; start < characters.length; start += length) {
    yield characters.slice(start, start + length).join('');
  }
}
