/** A tokenizer.json that is damaged, hostile or uses what is not supported: one ModelError with file and field, soon. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ModelError } from '../../src/errors.js';
import { buildEngine, type Engine, vocabularyOf } from '../../src/tokens/engine/engine.js';
import { withinLimits } from '../../src/tokens/engine/limits.js';
import { readTokenizerSpec } from '../../src/tokens/engine/schema.js';
import { loadTokenizer } from '../../src/tokens/tokenizer.js';

const FILE = 'model/tokenizer.json';
const BPE = { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: [['a', 'b']] };

function engineOf(json: Record<string, unknown>): Engine {
  const spec = readTokenizerSpec({ model: BPE, ...json }, FILE);
  return withinLimits(buildEngine(spec, vocabularyOf(spec.model), [], FILE), spec, FILE);
}

const errorOf = (act: () => unknown): unknown => {
  try {
    return act();
  } catch (error) {
    return error;
  }
};

const pattern = (Regex: string) => ({
  type: 'Split',
  pattern: { Regex },
  behavior: 'Isolated',
  invert: false,
});
const bpe = (changes: Record<string, unknown>) => ({ model: { ...BPE, ...changes } });

describe('refuses by name', () => {
  it.each<[string, Record<string, unknown>]>([
    ['normalizer.type', { normalizer: { type: 'Nmt' } }],
    [
      'normalizer.normalizers.1.type',
      { normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'X' }] } },
    ],
    ['pre_tokenizer.type', { pre_tokenizer: { type: 'UnicodeScripts' } }],
    ['decoder.type', { decoder: { type: 'CTC' } }],
    ['post_processor.type', { post_processor: { type: 'X' } }],
    ['model.type', { model: { ...BPE, type: 'X' } }],
    ['model.type', { model: {} }],
    ['model.dropout', bpe({ dropout: 0.1 })],
  ])('%s', (field, json) => {
    const error = errorOf(() => engineOf(json));
    expect(error).toMatchObject({ code: 'ERR_MODEL', details: { file: FILE, field } });
    expect((error as Error).message).toContain('is not supported');
  });

  it.each([
    { type: 'Strip', strip_left: true, strip_right: false },
    { type: 'StripAccents' },
    { type: 'BertNormalizer' },
    { type: 'Sequence', normalizers: [{ type: 'Replace', pattern: { Regex: '^ +' }, content: '' }] },
  ])('Metaspace at the first word only, behind %o', normalizer => {
    const first = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first' };
    const sequence = { type: 'Sequence', pretokenizers: [first] };
    const error = errorOf(() => engineOf({ normalizer, pre_tokenizer: sequence }));
    expect(error).toMatchObject({ code: 'ERR_MODEL', details: { file: FILE, field: 'pre_tokenizer' } });
    expect(
      engineOf({ normalizer, pre_tokenizer: { ...first, prepend_scheme: 'never' } }).encode('ab'),
    ).toEqual([2]);
  });

  it.each([
    [{ type: 'ByteLevel', add_prefix_space: false }],
    [{ type: 'FixedLength', length: 2 }],
    [
      { type: 'Sequence', pretokenizers: [] },
      { type: 'Metaspace', replacement: '_' },
    ],
  ])('Metaspace at the first word only, behind the steps %o', (...before) => {
    const first = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first' };
    const pre_tokenizer = { type: 'Sequence', pretokenizers: [...before, first] };
    const error = errorOf(() => engineOf({ pre_tokenizer }));
    expect(error).toMatchObject({ code: 'ERR_MODEL', details: { file: FILE, field: 'pre_tokenizer' } });
    const nested = { type: 'Sequence', pretokenizers: [{ type: 'Sequence', pretokenizers: [first] }] };
    expect(errorOf(() => engineOf({ pre_tokenizer: nested }))).toBeInstanceOf(ModelError);
    const split = { type: 'Sequence', pretokenizers: [{ type: 'WhitespaceSplit' }, first] };
    expect(engineOf({ pre_tokenizer: split }).encode('ab ab')).toEqual([2, 2]);
    expect(errorOf(() => engineOf({ pre_tokenizer: split, normalizer: { type: 'NFC' } }))).toBeInstanceOf(
      ModelError,
    );
  });

  it.each([
    [{ type: 'Strip', strip_left: false, strip_right: true }, ['  ']],
    [{ type: 'Lowercase' }, ['<S>', '<s>']],
  ])('added tokens that the normaliser %o makes nothing of, or the same', (normalizer, contents) => {
    const spec = readTokenizerSpec({ model: BPE, normalizer }, FILE);
    const flags = { single_word: false, lstrip: false, rstrip: false, special: false };
    const build = (normalized: boolean) => () =>
      buildEngine(
        spec,
        vocabularyOf(spec.model),
        contents.map((content, index) => ({ ...flags, content, normalized, id: 3 + index })),
        FILE,
      );
    expect(errorOf(build(true))).toMatchObject({
      code: 'ERR_MODEL',
      details: { file: FILE, field: 'added_tokens' },
    });
    expect(build(false)().encode(`a${contents[0]}b`)).toEqual([0, 3, 1]);
  });
});

describe('names what is damaged', () => {
  it.each<[string, Record<string, unknown>]>([
    ['model', { model: 7 }],
    ['model', { model: null }],
    ['model.vocab', bpe({ vocab: 3 })],
    ['model.vocab', bpe({ vocab: { a: '0' } })],
    ['model.vocab', bpe({ vocab: { a: -1 } })],
    ['model.vocab', bpe({ vocab: { a: 1.5 } })],
    ['model.vocab', bpe({ vocab: { a: 1e8 } })],
    ['model.vocab', bpe({ vocab: { a: 2 ** 31 } })],
    ['added_tokens.0.id', { added_tokens: [{ id: 2 ** 31, content: 'x' }] }],
    ['model.merges', bpe({ merges: [['a']] })],
    ['model.merges', bpe({ merges: {} })],
    ['model.merges.0', bpe({ merges: [['a', 'c']] })],
    ['model.vocab', { model: { type: 'Unigram', vocab: [], unk_id: 0 } }],
    ['model.vocab', { model: { type: 'Unigram', vocab: [['a']], unk_id: 0 } }],
    ['model.unk_id', { model: { type: 'Unigram', vocab: [['a', 0]], unk_id: 5 } }],
    ['added_tokens', { added_tokens: {} }],
    ['added_tokens.0', { added_tokens: [null] }],
    ['added_tokens.0.content', { added_tokens: [{ id: 3 }] }],
    ['added_tokens.0.id', { added_tokens: [{ id: '3', content: 'x' }] }],
    ['normalizer', { normalizer: 'NFC' }],
    ['normalizer.normalizers', { normalizer: { type: 'Sequence' } }],
    ['normalizer.precompiled_charsmap', { normalizer: { type: 'Precompiled', precompiled_charsmap: '%' } }],
    [
      'normalizer.precompiled_charsmap',
      { normalizer: { type: 'Precompiled', precompiled_charsmap: '/////w==' } },
    ],
    ['pre_tokenizer.pattern', { pre_tokenizer: pattern('(a+') }],
    [
      'pre_tokenizer.pretokenizers.0.pattern',
      { pre_tokenizer: { type: 'Sequence', pretokenizers: [pattern('*')] } },
    ],
    ['pre_tokenizer.pattern', { pre_tokenizer: pattern('('.repeat(20_000) + ')'.repeat(20_000)) }],
    ['pre_tokenizer.replacement', { pre_tokenizer: { type: 'Metaspace', replacement: '▁▁' } }],
    ['pre_tokenizer', { pre_tokenizer: { type: 'Metaspace', replacement: '▁', add_prefix_space: false } }],
    ['pre_tokenizer.length', { pre_tokenizer: { type: 'FixedLength', length: 0 } }],
    ['decoder', { decoder: 4 }],
    ['decoder.prefix', { decoder: { type: 'WordPiece', cleanup: true } }],
    [
      'post_processor.special_tokens',
      {
        post_processor: {
          type: 'TemplateProcessing',
          single: [{ SpecialToken: { id: 'constructor' } }],
          special_tokens: {},
        },
      },
    ],
  ])('%s, case %#', (field, json) => {
    const error = errorOf(() => engineOf(json));
    expect(error).toBeInstanceOf(ModelError);
    expect(error).toMatchObject({ details: { file: FILE, field } });
  });

  it('an unknown token that is not in the vocabulary, where a text needs it', () => {
    const engine = engineOf(bpe({ unk_token: '<unk>' }));
    expect(engine.encode('ab')).toEqual([2]);
    const error = errorOf(() => engine.encode('x'));
    expect(error).toMatchObject({ code: 'ERR_MODEL', details: { file: FILE, field: 'model.unk_token' } });
  });
});

describe('bounds time and memory', () => {
  it('of an expression that tries everything', () => {
    const json = { pre_tokenizer: { type: 'Sequence', pretokenizers: [pattern('b'), pattern('(a|a)*$')] } };
    const engine = engineOf(json);
    expect(engine.encode('ab')).toEqual([0, 1]);
    const start = performance.now();
    const error = errorOf(() => engine.encode(`${'a'.repeat(40)}!`));
    expect(performance.now() - start).toBeLessThan(30_000);
    expect(error).toMatchObject({ code: 'ERR_MODEL', details: { file: FILE } });
    expect((error as Error).message).toContain('pre_tokenizer.pretokenizers.1.pattern');
    expect((error as Error).message).toContain('(a|a)*$');
  });

  it('of ids that are far away', () => {
    const start = performance.now();
    const vocab = { a: 6e7, b: 2 ** 26 - 1, u: 0 };
    const engine = engineOf({ model: { type: 'WordLevel', vocab, unk_token: 'u' } });
    expect(engine.encode('a')).toEqual([6e7]);
    expect(engine.decode([6e7, 5, 2 ** 26 - 1], false)).toBe('a b');
    expect(performance.now() - start).toBeLessThan(2000);
  });

  it('of a long text without words', () => {
    const start = performance.now();
    expect(engineOf({}).encode('ab'.repeat(100_000))).toHaveLength(100_000);
    expect(performance.now() - start).toBeLessThan(20_000);
  });
});

it('a tokenizer that nests a hundred thousand levels deep is one error', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sralign-tokenizer-'));
  const levels = 100_000;
  const nested = `${'{"type":"Sequence","normalizers":['.repeat(levels)}${']}'.repeat(levels)}`;
  await writeFile(join(folder, 'tokenizer.json'), `{"model":${JSON.stringify(BPE)},"normalizer":${nested}}`);
  await expect(loadTokenizer(folder)).rejects.toThrow(ModelError);
});

it('a key of the prototype is a token like any other', () => {
  const json = JSON.parse(
    '{"type":"WordLevel","vocab":{"__proto__":1,"constructor":2,"u":0},"unk_token":"u"}',
  ) as object;
  const engine = engineOf({ model: json });
  expect(['__proto__', 'constructor', 'toString'].map(word => engine.encode(word))).toEqual([[1], [2], [0]]);
});
