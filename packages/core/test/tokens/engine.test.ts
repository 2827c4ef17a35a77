/** The parts of the tokenizer that make it fast, against plain ones. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { buildBpe } from '../../src/tokens/engine/bpe.js';
import { PairTable } from '../../src/tokens/engine/pair-table.js';
import { findRegExp, isolator } from '../../src/tokens/engine/pattern.js';
import { remembered } from '../../src/tokens/engine/word-cache.js';

it('a table of pairs holds what a Map would', () => {
  const entry = fc.tuple(fc.nat(50), fc.nat(50), fc.nat());
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 200 }), entries => {
      const table = new PairTable(entries.length);
      const map = new Map<string, number>();
      for (const [left, right, value] of entries) {
        table.set(left, right, value);
        map.set(`${left} ${right}`, value);
      }
      for (let left = 0; left <= 50; left++)
        for (let right = 0; right <= 50; right++)
          expect(table.get(left, right)).toBe(map.get(`${left} ${right}`) ?? -1);
    }),
    { numRuns: 20 },
  );
});

it.each([
  ['an expression that matches everywhere', /\p{L}+|\P{L}/gu],
  ['one with gaps', /\p{L}+/gu],
  ['one that matches nothing, too', /a*/gu],
  ['one that looks back', /(?<=a)b|c+/gu],
])('pieces are the matches and what stands between: %s', (_, expression) => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', 'b', 'c', ' ', 'é', '𝒳'), maxLength: 12 }), text => {
      const pieces: string[] = [];
      isolator(expression)(text, pieces);
      const found = findRegExp(expression)(text).map(part => part.text);
      expect(pieces).toEqual(found.filter(part => part !== ''));
    }),
  );
});

it('the memory of words answers as what it remembers, whatever it has forgotten', () => {
  let asked = 0;
  const encode = remembered(word => {
    asked++;
    return [word.length, ...[...word].map(character => character.codePointAt(0)!)];
  });
  const first = encode('\ud83d alone');
  expect(encode('\ud83d alone')).toBe(first);
  expect(asked).toBe(1);
  const long = 'x'.repeat(1000);
  for (let word = 0; word < 300_000; word++) encode(String(word));
  const before = asked;
  expect(encode('\ud83d alone')).toEqual(first);
  expect(encode(long)).toEqual(encode(long));
  expect(encode('299999')).toEqual([6, 50, 57, 57, 57, 57, 57]);
  // The word of the beginning is forgotten, the long one never known, the last one still there.
  expect(asked - before).toBe(3);
});

it('words of a SentencePiece tokenizer that are encoded apart have the tokens that they have together', () => {
  const merges = ['\u2581 a', 'a b', '\u2581a b', '\u2581 \u2581', '\u2581\u2581 b', 'b c', '\u2581 bc'];
  const tokens = [
    '<unk>',
    '\u2581',
    'a',
    'b',
    'c',
    '<0xC3>',
    '<0xA9>',
    ...merges.map(merge => merge.replace(' ', '')),
  ];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const spec = {
    ...{
      type: 'BPE' as const,
      vocab: Object.fromEntries(ids),
      merges,
      unk_token: '<unk>',
      ignore_merges: false,
    },
    ...{ fuse_unk: true, byte_fallback: true },
  } as const;
  const apart = buildBpe({ ...spec, merges: [...merges] }, ids, 'f');
  // One merge over the beginning of a word, of lowest rank, of a character that is not in the texts: nothing may be cut.
  const withX = new Map([...ids, ['x', ids.size], ['x\u2581', ids.size + 1]]);
  const together = buildBpe({ ...spec, merges: [...merges, 'x \u2581'] }, withX, 'f');
  const text = fc.string({
    unit: fc.constantFrom('a', 'b', 'c', '\u2581', '\u2581', 'é', '中'),
    maxLength: 30,
  });
  fc.assert(
    fc.property(text, one => {
      expect(apart.encode(one)).toEqual(together.encode(one));
    }),
    { numRuns: 500 },
  );
});
