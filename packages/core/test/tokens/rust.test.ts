/** Token ids and decoded texts of small tokenizers, as the Rust library gives them (fixtures/tokenizers/README.md). */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { AddedToken } from '../../src/tokens/engine/added-tokens.js';
import { buildEngine, vocabularyOf } from '../../src/tokens/engine/engine.js';
import { readTokenizerSpec } from '../../src/tokens/engine/schema.js';

const read = <T>(name: string): T =>
  JSON.parse(
    readFileSync(fileURLToPath(new URL(`../fixtures/tokenizers/rust/${name}.json`, import.meta.url)), 'utf8'),
  ) as T;

interface Case {
  readonly name: string;
  readonly model: string;
  /** Fields of the model that differ; `drop`: tokens that its vocabulary lacks. */
  readonly change: Record<string, unknown> & { readonly drop?: readonly string[] };
  readonly added_tokens: readonly AddedToken[];
  readonly normalizer: unknown;
  readonly pre_tokenizer: unknown;
  readonly decoder: unknown;
  /** By text; null: the library refuses the text. */
  readonly ids: readonly (string | null)[];
  /** By number of the text, where decoding does not give the text back; null: the library fails. */
  readonly decoded: Readonly<Record<string, string | null>>;
}

const texts = read<string[]>('texts');
const vocabularies = read<Record<string, { vocab: Record<string, number> }>>('vocabularies');

function engineOf({ name, model, change, added_tokens, normalizer, pre_tokenizer, decoder }: Case) {
  const { drop = [], ...changes } = change;
  const base = { ...vocabularies[model]!, ...changes };
  const vocab = drop.length === 0 ? base.vocab : { ...base.vocab };
  for (const token of drop) delete vocab[token];
  const json = { added_tokens, normalizer, pre_tokenizer, decoder, model: { ...base, vocab } };
  const spec = readTokenizerSpec(json, name);
  return buildEngine(spec, vocabularyOf(spec.model), added_tokens, name);
}

for (const group of ['pre-tokenizers', 'normalizers', 'added-tokens', 'models']) {
  describe(group, () => {
    it.each(read<Case[]>(group).map(one => [one.name, one] as const))('%s', (_, one) => {
      const engine = engineOf(one);
      const differences: unknown[] = [];
      for (const [index, text] of texts.entries()) {
        const ids = one.ids[index]!;
        if (ids === null) {
          expect(() => engine.encode(text)).toThrow('The tokenizer has no token for');
          continue;
        }
        const decoded = one.decoded[index];
        const expected = [ids, decoded === undefined ? text : decoded];
        const encoded = engine.encode(text);
        const got = [encoded.join(' '), decoded === null ? null : engine.decode(encoded, false)];
        if (got[0] !== expected[0] || got[1] !== expected[1]) differences.push({ text, got, expected });
        // Words that it has seen come out of its memory.
        expect(engine.encode(text)).toEqual(encoded);
      }
      expect(differences).toEqual([]);
    });
  });
}
