/**
 * Byte-pair encoding: the characters of a piece, joined pair by pair in the order of the merge list.
 *
 * The work is done on ids, not on texts, as in the Rust library: an unknown character between two known ones then merges
 * (or does not) exactly as there.
 */
import { ModelError } from '../../errors.js';
import { MergeQueue } from './merge-queue.js';
import { PairTable } from './pair-table.js';
import type { BpeSpec } from './schema.js';
import { remembered } from './word-cache.js';

export interface Model {
  /** Token ids of one piece. @throws ModelError when a token is unknown and the model has none for that */
  encode(piece: string): readonly number[];
}

/**
 * @param ids by token
 * @throws ModelError naming file and field when a merge or the unknown token is not in the vocabulary
 */
export function buildBpe(spec: BpeSpec, ids: ReadonlyMap<string, number>, file: string): Model {
  const prefix = spec.continuing_subword_prefix ?? '';
  const suffix = spec.end_of_word_suffix ?? '';
  const merges = readMerges(spec, ids, prefix, file);
  const unknown = spec.unk_token == null ? undefined : ids.get(spec.unk_token);
  const byteIds = spec.byte_fallback
    ? Array.from({ length: 256 }, (_, byte) => ids.get(byteToken(byte)))
    : [];

  const requireUnknown = (): number => {
    if (unknown !== undefined) return unknown;
    throw new ModelError(`The unknown token ${JSON.stringify(spec.unk_token)} is not in the vocabulary.`, {
      file,
      field: 'model.unk_token',
    });
  };

  /** The tokens of the single characters. */
  const characters = (piece: string): number[] => {
    const word: number[] = [];
    let pending: number | undefined;
    const flush = (): void => {
      if (pending !== undefined) word.push(pending);
      pending = undefined;
    };
    let index = 0;
    for (const character of piece) {
      const last = index + character.length === piece.length;
      const text = (index > 0 ? prefix : '') + character + (last ? suffix : '');
      index += character.length;
      const id = ids.get(text);
      if (id !== undefined) {
        flush();
        word.push(id);
        continue;
      }
      if (spec.byte_fallback) {
        const bytes = Array.from(encoder.encode(text), byte => byteIds[byte]);
        if (!bytes.includes(undefined)) {
          // What is pending comes behind the bytes: so does the Rust library.
          word.push(...(bytes as number[]));
          continue;
        }
      }
      if (spec.unk_token == null) continue;
      if (!spec.fuse_unk) flush();
      pending ??= requireUnknown();
    }
    flush();
    return word;
  };

  const encodeWord = (word: string): readonly number[] => mergeAll(characters(word), merges);
  if (wordsAreApart(spec, ids, merges)) {
    const encodeKnown = remembered(encodeWord);
    return { encode: piece => wordsOf(piece).flatMap(encodeKnown) };
  }
  return {
    encode(piece) {
      const whole = spec.ignore_merges ? ids.get(piece) : undefined;
      return whole === undefined ? encodeWord(piece) : [whole];
    },
  };
}

/** What SentencePiece writes for a space. */
const SPACE = '\u2581';

/**
 * Whether no merge reaches over the beginning of a word: no token has a space behind anything else. Such tokenizers take a whole
 * text as one piece, and still every word has tokens of its own. (An unknown character must become something: where it vanished,
 * the spaces around it would meet.)
 */
function wordsAreApart(spec: BpeSpec, ids: ReadonlyMap<string, number>, { results }: Merges): boolean {
  const { unk_token: unknown, continuing_subword_prefix: prefix, end_of_word_suffix: suffix } = spec;
  if (spec.ignore_merges || prefix || suffix || unknown == null || unknown.includes(SPACE)) return false;
  const merged = new Set(results);
  return ids.has(SPACE) && ![...ids].some(([token, id]) => merged.has(id) && /[^\u2581]\u2581/.test(token));
}

/** The words of a text, each with the spaces in front of it. */
function wordsOf(text: string): string[] {
  const words: string[] = [];
  let start = 0;
  for (let at = text.indexOf(SPACE, 1); at > 0; at = text.indexOf(SPACE, at + 1)) {
    if (text[at - 1] === SPACE) continue;
    words.push(text.slice(start, at));
    start = at;
  }
  words.push(text.slice(start));
  return words;
}

const encoder = new TextEncoder();

/** The token that stands for a byte, such as <0x0A>. */
export const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

interface Merges {
  /** Place in the merge list by the two ids. */
  readonly ranks: PairTable;
  /** The id that a merge gives, by place in the merge list. */
  readonly results: readonly number[];
}

function readMerges(spec: BpeSpec, ids: ReadonlyMap<string, number>, prefix: string, file: string): Merges {
  const ranks = new PairTable(spec.merges.length);
  const results: number[] = [];
  for (const [index, merge] of spec.merges.entries()) {
    if (typeof merge === 'string' && merge.startsWith('#version')) continue;
    const [left, right] = (typeof merge === 'string' ? merge.split(' ') : merge) as [string, string];
    const leftId = ids.get(left);
    const rightId = ids.get(right);
    const result = ids.get(left + right.slice(prefix.length));
    if (leftId === undefined || rightId === undefined || result === undefined) {
      throw new ModelError(
        `The merge ${JSON.stringify([left, right])} has a token that is not in the vocabulary.`,
        {
          file,
          field: `model.merges.${index}`,
          hint: 'The tokenizer is damaged: download or copy it again.',
        },
      );
    }
    ranks.set(leftId, rightId, results.length);
    results.push(result);
  }
  return { ranks, results };
}

/** Joins the neighbours of lowest rank, the leftmost first, until no pair is in the merge list. */
function mergeAll(word: number[], { ranks, results }: Merges): number[] {
  if (word.length < 2) return word;
  const next = word.map((_, index) => index + 1);
  const previous = word.map((_, index) => index - 1);
  const end = word.length;
  const rankAt = (index: number): number => {
    const right = next[index]!;
    return right === end ? -1 : ranks.get(word[index]!, word[right]!);
  };
  const queue = new MergeQueue();
  const offer = (index: number): void => {
    const rank = rankAt(index);
    if (rank !== -1) queue.push(rank, index);
  };
  for (let index = 0; index < end - 1; index++) offer(index);
  for (let best = queue.pop(); best !== undefined; best = queue.pop()) {
    const { rank, index } = best;
    // The pair may have been joined or changed since it was offered.
    if (word[index] === -1 || rankAt(index) !== rank) continue;
    const right = next[index]!;
    word[index] = results[rank]!;
    word[right] = -1;
    next[index] = next[right]!;
    if (next[index]! < end) previous[next[index]!] = index;
    if (previous[index]! >= 0) offer(previous[index]!);
    offer(index);
  }
  return word.filter(id => id !== -1);
}
