/** SentencePiece's unigram model: of all ways to write a piece in tokens the one with the highest sum of scores. */
import { ModelError } from '../../errors.js';
import { byteToken, type Model } from './bpe.js';
import type { UnigramSpec } from './schema.js';

/** An unknown character scores this much below the worst token. */
const UNKNOWN_PENALTY = 10;

/** Tokens by their characters. */
interface TrieNode {
  readonly children: Map<string, TrieNode>;
  /** The token that ends here. */
  id: number | undefined;
}

/** @throws ModelError naming file and field when unk_id is not in the vocabulary */
export function buildUnigram(spec: UnigramSpec, ids: ReadonlyMap<string, number>, file: string): Model {
  const { vocab, unk_id: unknown } = spec;
  if (unknown != null && unknown >= vocab.length) {
    throw new ModelError(`The unknown token ${unknown} is not in the vocabulary of ${vocab.length}.`, {
      file,
      field: 'model.unk_id',
    });
  }
  const root: TrieNode = { children: new Map(), id: undefined };
  for (const [token, id] of ids) insert(root, token, id);
  const unknownScore =
    vocab.reduce((lowest, [, score]) => Math.min(lowest, score), Infinity) - UNKNOWN_PENALTY;

  const idsOf = (text: string): number[] => {
    const id = ids.get(text);
    if (id !== undefined) return [id];
    if (spec.byte_fallback) {
      const bytes = Array.from(encoder.encode(text), byte => ids.get(byteToken(byte)));
      if (!bytes.includes(undefined)) return bytes as number[];
    }
    if (unknown != null) return [unknown];
    throw new ModelError(`The tokenizer has no token for ${JSON.stringify(text)}.`, {
      file,
      field: 'model.unk_id',
      hint: 'Its vocabulary has no unknown token either; use another tokenizer, or leave the text out.',
    });
  };

  return {
    encode(piece) {
      const path = bestPath([...piece], root, vocab, unknown ?? -1, unknownScore);
      return path.flatMap(idsOf);
    },
  };
}

const encoder = new TextEncoder();

function insert(root: TrieNode, token: string, id: number): void {
  let node = root;
  for (const character of token) {
    let child = node.children.get(character);
    if (child === undefined) {
      child = { children: new Map(), id: undefined };
      node.children.set(character, child);
    }
    node = child;
  }
  node.id = id;
}

/** The texts of the best tokens; neighbouring unknown characters are one text. */
function bestPath(
  characters: readonly string[],
  root: TrieNode,
  vocab: UnigramSpec['vocab'],
  unknown: number,
  unknownScore: number,
): string[] {
  const scores = new Float64Array(characters.length + 1);
  const starts = new Int32Array(characters.length + 1).fill(-1);
  const tokens = new Int32Array(characters.length + 1);
  const offer = (start: number, end: number, id: number, score: number): void => {
    const candidate = scores[start]! + score;
    if (starts[end] !== -1 && candidate <= scores[end]!) return;
    scores[end] = candidate;
    starts[end] = start;
    tokens[end] = id;
  };
  for (let start = 0; start < characters.length; start++) {
    let known = false;
    let node = root.children.get(characters[start]!);
    for (let end = start + 1; node !== undefined; end++) {
      if (node.id !== undefined) {
        offer(start, end, node.id, vocab[node.id]![1]);
        if (end === start + 1) known = true;
      }
      node = end < characters.length ? node.children.get(characters[end]!) : undefined;
    }
    if (!known) offer(start, start + 1, unknown, unknownScore);
  }
  const texts: string[] = [];
  let unknownText = '';
  const flush = (): void => {
    if (unknownText !== '') texts.push(unknownText);
    unknownText = '';
  };
  for (let end = characters.length; end > 0; end = starts[end]!) {
    const text = characters.slice(starts[end], end).join('');
    if (tokens[end] === unknown && unknown !== -1) {
      unknownText = text + unknownText;
    } else {
      flush();
      texts.push(text);
    }
  }
  flush();
  return texts.reverse();
}
