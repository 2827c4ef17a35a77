/**
 * SentencePiece's compiled table of replacements: four bytes with the size of a double-array trie, the trie (units of
 * darts-clone, 32 bits each), and the replacements, each ended by a zero byte, to which the trie's values point.
 */
import { ModelError } from '../../errors.js';

/** Clusters of this many UTF-8 bytes and more are looked up character by character. */
const LONGEST_CLUSTER_BYTES = 5;

/** @throws ModelError naming file and field when the table is damaged */
export function charsmapNormalizer(base64: string, file: string, field: string): (text: string) => string {
  const table = Buffer.from(base64, 'base64');
  const trieBytes = table.length < 4 ? -1 : table.readUInt32LE(0);
  if (trieBytes < 4 || trieBytes % 4 !== 0 || 4 + trieBytes > table.length) {
    throw new ModelError('The table of replacements is damaged.', {
      file,
      field,
      hint: 'Download or copy the tokenizer again.',
    });
  }
  const units = Uint32Array.from({ length: trieBytes / 4 }, (_, index) => table.readUInt32LE(4 + 4 * index));
  const replacements = table.subarray(4 + trieBytes);

  /** What stands for the shortest beginning of `chunk` that the table knows; undefined when it knows none. */
  const replacementOf = (chunk: Uint8Array): string | undefined => {
    let position = offsetOf(units[0]!);
    for (const byte of chunk) {
      if (byte === 0) return undefined;
      position ^= byte;
      const unit = units[position];
      if (unit === undefined || labelOf(unit) !== byte) return undefined;
      position ^= offsetOf(unit);
      if (hasLeaf(unit)) {
        const start = (units[position] ?? 0) & 0x7fffffff;
        const end = replacements.indexOf(0, start);
        return replacements.toString('utf8', start, end === -1 ? undefined : end);
      }
    }
    return undefined;
  };

  return text => {
    let result = '';
    for (const { segment } of graphemes.segment(text)) {
      const bytes = encoder.encode(segment);
      const whole = bytes.length <= LONGEST_CLUSTER_BYTES ? replacementOf(bytes) : undefined;
      if (whole !== undefined) result += whole;
      else for (const character of segment) result += replacementOf(encoder.encode(character)) ?? character;
    }
    return result;
  };
}

const encoder = new TextEncoder();
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });

const hasLeaf = (unit: number): boolean => ((unit >>> 8) & 1) === 1;
const labelOf = (unit: number): number => (unit & 0x800000ff) >>> 0;
const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);
