/** Models whose pieces are words: looked up whole (WordLevel), or cut into the longest known parts (WordPiece). */
import { ModelError } from '../../errors.js';
import type { Model } from './bpe.js';
import type { WordSpec } from './schema.js';

export function buildWords(spec: WordSpec, ids: ReadonlyMap<string, number>, file: string): Model {
  const unknown = (word: string): number => {
    const id = ids.get(spec.unk_token);
    if (id !== undefined) return id;
    throw new ModelError(
      `The tokenizer has no token for ${JSON.stringify(word)}, and ${JSON.stringify(spec.unk_token)} is not in its vocabulary.`,
      { file, field: 'model.unk_token' },
    );
  };
  if (spec.type === 'WordLevel') return { encode: word => [ids.get(word) ?? unknown(word)] };
  return {
    encode(word) {
      const characters = [...word];
      const found =
        characters.length > spec.max_input_chars_per_word
          ? null
          : longestParts(characters, ids, spec.continuing_subword_prefix);
      return found ?? [unknown(word)];
    },
  };
}

/** From the left, always the longest part that is a token; null when a part of the word is none. */
function longestParts(
  characters: readonly string[],
  ids: ReadonlyMap<string, number>,
  prefix: string,
): number[] | null {
  const parts: number[] = [];
  let start = 0;
  while (start < characters.length) {
    let end = characters.length;
    let id: number | undefined;
    for (; end > start && id === undefined; end--) {
      id = ids.get((start > 0 ? prefix : '') + characters.slice(start, end).join(''));
    }
    if (id === undefined) return null;
    parts.push(id);
    start = end + 1;
  }
  return parts;
}
