/** The normalisers of a tokenizer.json: text to text, before it is split. */
import { BYTE_CHARACTERS } from './byte-level.js';
import { charsmapNormalizer } from './charsmap.js';
import { compilePattern } from './pattern.js';
import type { NormalizerSpec } from './schema.js';

export type Normalizer = (text: string) => string;

/** @throws ModelError naming file and field when a pattern or character map cannot be used */
export function buildNormalizer(
  spec: NormalizerSpec | null | undefined,
  file: string,
  field = 'normalizer',
): Normalizer {
  if (spec === null || spec === undefined) return text => text;
  switch (spec.type) {
    case 'Sequence': {
      const steps = spec.normalizers.map((step, index) =>
        buildNormalizer(step, file, `${field}.normalizers.${index}`),
      );
      return text => steps.reduce((result, step) => step(result), text);
    }
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return text => text.normalize(spec.type);
    case 'Lowercase':
      return lowercase;
    case 'StripAccents':
      return text => text.replace(/\p{M}/gu, '');
    case 'ByteLevel':
      return text => Array.from(encoder.encode(text), byte => BYTE_CHARACTERS[byte]).join('');
    case 'Prepend':
      return text => (text === '' ? '' : spec.prepend + text);
    case 'Replace': {
      const expression = compilePattern(spec.pattern, file, `${field}.pattern`);
      return text => text.replace(expression, () => spec.content);
    }
    case 'Strip':
      return text => strip(text, spec.strip_left, spec.strip_right);
    case 'Precompiled':
      return charsmapNormalizer(spec.precompiled_charsmap, file, `${field}.precompiled_charsmap`);
    case 'BertNormalizer':
      return bertNormalizer(spec);
  }
}

const encoder = new TextEncoder();

/** One character after the other: a sigma at the end of a word is not treated apart. */
const lowercase: Normalizer = text => text.replaceAll('Σ', 'σ').toLowerCase();

function strip(text: string, left: boolean, right: boolean): string {
  const start = left ? text.replace(/^\p{White_Space}+/u, '') : text;
  if (!right) return start;
  let end = start.length;
  while (end > 0 && /\p{White_Space}/u.test(start[end - 1]!)) end--;
  return start.slice(0, end);
}

function bertNormalizer(spec: Extract<NormalizerSpec, { type: 'BertNormalizer' }>): Normalizer {
  const steps: Normalizer[] = [];
  if (spec.clean_text) {
    steps.push(text =>
      text
        .replace(/[\0\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu, '')
        .replace(/\p{White_Space}/gu, ' '),
    );
  }
  if (spec.handle_chinese_chars) steps.push(text => text.replace(IDEOGRAPHS, ' $& '));
  if (spec.strip_accents ?? spec.lowercase) {
    steps.push(text => text.normalize('NFD').replace(/\p{Mn}/gu, ''));
  }
  if (spec.lowercase) steps.push(lowercase);
  return text => steps.reduce((result, step) => step(result), text);
}

/** The blocks of CJK ideographs that BERT counts as Chinese. */
const IDEOGRAPHS =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;
