/** The decoders of a tokenizer.json: tokens to the pieces of a text. */
import { BYTE_OF_CHARACTER } from './byte-level.js';
import { compilePattern } from './pattern.js';
import type { DecoderSpec } from './schema.js';

export type Decoder = (tokens: readonly string[]) => string[];

/** @throws ModelError naming file and field when a pattern cannot be used */
export function buildDecoder(spec: DecoderSpec, file: string, field = 'decoder'): Decoder {
  switch (spec.type) {
    case 'Sequence': {
      const steps = spec.decoders.map((step, index) =>
        buildDecoder(step, file, `${field}.decoders.${index}`),
      );
      return tokens => steps.reduce<string[]>((result, step) => step(result), [...tokens]);
    }
    case 'ByteLevel':
      return tokens => [utf8.decode(Uint8Array.from(tokens.flatMap(bytesOf)))];
    case 'ByteFallback':
      return decodeBytes;
    case 'Fuse':
      return tokens => [tokens.join('')];
    case 'Metaspace': {
      const prepended = spec.prepend_scheme !== 'never';
      return tokens =>
        tokens.map((token, index) => token.replaceAll(spec.replacement, index === 0 && prepended ? '' : ' '));
    }
    case 'Replace': {
      const expression = compilePattern(spec.pattern, file, `${field}.pattern`);
      return tokens => tokens.map(token => token.replace(expression, () => spec.content));
    }
    case 'Strip':
      return tokens => tokens.map(token => stripped(token, spec));
    case 'WordPiece':
      return tokens =>
        tokens.map((token, index) => {
          const continues = token.startsWith(spec.prefix);
          const text = index === 0 ? token : continues ? token.slice(spec.prefix.length) : ` ${token}`;
          return spec.cleanup ? tidied(text) : text;
        });
    case 'BPEDecoder':
      return tokens =>
        tokens.map((token, index) => token.replaceAll(spec.suffix, index === tokens.length - 1 ? '' : ' '));
  }
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
const strictUtf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });
const encoder = new TextEncoder();

/** The bytes that a token stands for; of one with a character outside the byte alphabet, an added token, its text. */
function bytesOf(token: string): number[] {
  const bytes = Array.from(token, character => BYTE_OF_CHARACTER.get(character));
  return bytes.includes(undefined) ? [...encoder.encode(token)] : (bytes as number[]);
}

/** Joins tokens such as <0xE2> to characters; bytes that are no UTF-8 become U+FFFD, one each. */
function decodeBytes(tokens: readonly string[]): string[] {
  const result: string[] = [];
  let bytes: number[] = [];
  const flush = (): void => {
    if (bytes.length === 0) return;
    try {
      result.push(strictUtf8.decode(Uint8Array.from(bytes)));
    } catch {
      result.push(...bytes.map(() => '\ufffd'));
    }
    bytes = [];
  };
  for (const token of tokens) {
    const hex = /^<0x([0-9a-fA-F]{2})>$/.exec(token);
    if (hex === null) {
      flush();
      result.push(token);
    } else {
      bytes.push(Number.parseInt(hex[1]!, 16));
    }
  }
  flush();
  return result;
}

function stripped(
  token: string,
  { content, start, stop }: { content: string; start: number; stop: number },
): string {
  const characters = [...token];
  let from = 0;
  while (from < start && characters[from] === content) from++;
  let to = characters.length;
  while (characters.length - to < stop && to > from && characters[to - 1] === content) to--;
  return characters.slice(from, to).join('');
}

/** Spaces before punctuation and in English contractions removed, as BERT's decoder does. */
function tidied(text: string): string {
  return text
    .replaceAll(' .', '.')
    .replaceAll(' ?', '?')
    .replaceAll(' !', '!')
    .replaceAll(' ,', ',')
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(' do not', " don't")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");
}
