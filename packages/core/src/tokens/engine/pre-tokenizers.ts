/** The pre-tokenizers of a tokenizer.json: text to the pieces whose tokens are sought each on its own. */
import { BYTE_CHARACTERS } from './byte-level.js';
import {
  compilePattern,
  type Finder,
  findCharacters,
  findRegExp,
  PUNCTUATION,
  splitText,
  WHITE_SPACE,
} from './pattern.js';
import type { PreTokenizerSpec, SplitBehavior } from './schema.js';

/** A piece of a text, and whether it is the first of the whole text. */
export interface Piece {
  readonly text: string;
  readonly first: boolean;
}

export type PreTokenizer = (piece: Piece) => Piece[];

/** @throws ModelError naming file and field when a pattern cannot be used */
export function buildPreTokenizer(
  spec: PreTokenizerSpec | null | undefined,
  file: string,
  field = 'pre_tokenizer',
): PreTokenizer {
  if (spec === null || spec === undefined) return piece => [piece];
  switch (spec.type) {
    case 'Sequence': {
      const steps = spec.pretokenizers.map((step, index) =>
        buildPreTokenizer(step, file, `${field}.pretokenizers.${index}`),
      );
      return piece => steps.reduce((pieces, step) => pieces.flatMap(step), [piece]);
    }
    case 'ByteLevel':
      return byteLevel(spec);
    case 'Metaspace':
      return metaspace(spec);
    case 'Split': {
      const expression = compilePattern(spec.pattern, file, `${field}.pattern`);
      return splitter(findRegExp(expression), spec.behavior, spec.invert);
    }
    case 'Punctuation':
      return splitter(findCharacters(PUNCTUATION), spec.behavior);
    case 'Digits':
      return splitter(findCharacters(/\p{N}/u), spec.individual_digits ? 'isolated' : 'contiguous');
    case 'CharDelimiterSplit':
      return splitter(text => findExactly(text, spec.delimiter), 'removed');
    case 'FixedLength':
      return piece => cut(piece, [...chunks([...piece.text], spec.length)]);
    case 'Whitespace':
      return splitter(findRegExp(WORDS_AND_SYMBOLS), 'removed', true);
    case 'WhitespaceSplit':
      return splitter(findCharacters(WHITE_SPACE), 'removed');
    case 'BertPreTokenizer': {
      const words = splitter(findCharacters(WHITE_SPACE), 'removed');
      const symbols = splitter(findCharacters(PUNCTUATION), 'isolated');
      return piece => words(piece).flatMap(symbols);
    }
  }
}

const WORDS_AND_SYMBOLS =
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu;

/** GPT-2's words: contractions, letters, numbers and other signs, each with the space before it, and white space. */
const GPT2_WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

function byteLevel(spec: Extract<PreTokenizerSpec, { type: 'ByteLevel' }>): PreTokenizer {
  const split = spec.use_regex ? splitter(findRegExp(GPT2_WORDS), 'isolated') : (piece: Piece) => [piece];
  return piece => {
    const spaced = spec.add_prefix_space && !piece.text.startsWith(' ') ? ` ${piece.text}` : piece.text;
    return split({ ...piece, text: spaced }).map(({ text, first }) => ({
      text: toByteCharacters(text),
      first,
    }));
  };
}

const encoder = new TextEncoder();

/** Most pieces are short: a loop is faster here than an array of characters. */
function toByteCharacters(text: string): string {
  let result = '';
  for (const byte of encoder.encode(text)) result += BYTE_CHARACTERS[byte];
  return result;
}

function metaspace(spec: Extract<PreTokenizerSpec, { type: 'Metaspace' }>): PreTokenizer {
  const { replacement, prepend_scheme: scheme } = spec;
  return piece => {
    const marked = piece.text.replaceAll(' ', replacement);
    const prepends = scheme === 'always' || (scheme === 'first' && piece.first);
    const text = prepends && !marked.startsWith(replacement) ? replacement + marked : marked;
    if (!spec.split) return [{ ...piece, text }];
    return cut(piece, splitText(findExactly(text, replacement), 'mergedwithnext'));
  };
}

function splitter(find: Finder, behavior: SplitBehavior, invert = false): PreTokenizer {
  return piece => cut(piece, splitText(find(piece.text), behavior, invert), piece.text);
}

/** The pieces that a piece became, without empty ones. @param whole the text that they were cut from */
function cut(piece: Piece, texts: readonly string[], whole?: string): Piece[] {
  const pieces: Piece[] = [];
  for (const text of texts) {
    // What was removed before the first piece takes the beginning away from it.
    const first = piece.first && pieces.length === 0 && (whole === undefined || whole.startsWith(text));
    if (text !== '') pieces.push({ text, first });
  }
  return pieces;
}

function findExactly(text: string, delimiter: string): { text: string; matches: boolean }[] {
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
