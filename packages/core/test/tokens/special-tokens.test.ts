/** Special and added tokens wherever they stand, as transformers 5.18 reads them (fixtures/tokenizers/README.md). */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { renderChat } from '../../src/tokens/chat-template.js';
import { loadTokenizer } from '../../src/tokens/tokenizer.js';
import { STORIES } from './fixtures.js';

interface Case {
  readonly name: string;
  /** Appended to the added tokens of tokenizer.json. */
  readonly added: readonly unknown[];
  readonly files: Readonly<Record<string, unknown>>;
  readonly eos: number;
  readonly bos: number;
  /** Tokens with all that were added. */
  readonly size: number;
  /** By text. */
  readonly ids: readonly string[];
  /** The texts decoded without special tokens. */
  readonly skipped: readonly string[];
}

const source = new URL('../fixtures/tokenizers/special-tokens.json', import.meta.url);
const { texts, cases } = JSON.parse(await readFile(source, 'utf8')) as { texts: string[]; cases: Case[] };

/** A copy of the stories tokenizer with other files, and more added tokens. */
async function folderWith(files: Record<string, unknown>, added: readonly unknown[] = []): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sralign-tokenizer-'));
  await cp(STORIES, folder, { recursive: true });
  await rm(join(folder, 'special_tokens_map.json'));
  const tokenizer = JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8')) as {
    added_tokens: unknown[];
  };
  tokenizer.added_tokens.push(...added);
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(folder, name), JSON.stringify(content));
  }
  return folder;
}

const special = (id: number, content: string) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

describe('as transformers', () => {
  it.each(cases.map(one => [one.name, one] as const))('%s', async (_, one) => {
    const tokenizer = await loadTokenizer(await folderWith(one.files, one.added));
    expect(tokenizer).toMatchObject({ eosTokenId: one.eos, bosTokenId: one.bos, vocabularySize: one.size });
    const ids = texts.map(text => tokenizer.encode(text));
    expect(ids.map(list => list.join(' '))).toEqual(one.ids);
    expect(ids.map(list => tokenizer.decode(list, { skipSpecialTokens: true }))).toEqual(one.skipped);
  });
});

it('renders a chat to the 20 tokens that transformers gives', async () => {
  const chat_template =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}" +
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
  const decoder = { 512: special(512, '<|im_start|>'), 513: special(513, '<|im_end|>') };
  const config = { bos_token: '<s>', eos_token: '<|im_end|>', added_tokens_decoder: decoder, chat_template };
  const tokenizer = await loadTokenizer(await folderWith({ 'tokenizer_config.json': config }));
  const ids = tokenizer.encode(renderChat(tokenizer, [{ role: 'user', content: 'A cat' }], true));
  expect(ids.slice(0, 2)).toEqual([512, 318]);
  expect(ids.filter(id => id === 512)).toHaveLength(2);
  expect(ids).toHaveLength(20);
  expect(tokenizer.eosTokenId).toBe(513);
});

describe('refuses', () => {
  const refusal = async (files: Record<string, unknown>, added: readonly unknown[] = []) =>
    loadTokenizer(await folderWith(files, added)).catch((error: unknown) => error);

  it.each([
    [
      'an EOS that no file defines',
      { eos_token: '<|endofturn|>' },
      'eos_token',
      'which none of its files defines',
    ],
    [
      'a BOS that no file defines',
      { bos_token: '<|start|>', eos_token: '</s>', add_bos_token: true },
      'bos_token',
      'which none of its files defines',
    ],
    ['a list as EOS', { eos_token: ['</s>'] }, 'eos_token', 'expected a text'],
    ['an EOS without content', { eos_token: { lstrip: true } }, 'eos_token.content', 'This is not a token'],
    ['an empty EOS', { eos_token: '' }, 'eos_token', 'expected a text'],
    [
      'a number as list',
      { additional_special_tokens: 7 },
      'additional_special_tokens',
      'expected a list of tokens',
    ],
    [
      'a number in a list',
      { additional_special_tokens: ['a', 7] },
      'additional_special_tokens.1',
      'expected a text',
    ],
    [
      'an id that the token cannot have',
      { added_tokens_decoder: { 600: special(600, '<|x|>') } },
      'added_tokens_decoder.600',
      'is said to have the id 600, but it gets 512',
    ],
    [
      'a key that is no id',
      { added_tokens_decoder: { x: special(1, 'y') } },
      'added_tokens_decoder.x',
      'not a token id',
    ],
    [
      'a token of null',
      { added_tokens_decoder: { 512: null } },
      'added_tokens_decoder.512',
      'expected a text',
    ],
  ])('%s', async (_, config, field, message) => {
    const error = await refusal({ 'tokenizer_config.json': config });
    expect(error).toMatchObject({ code: 'ERR_MODEL', details: { field } });
    expect((error as Error).message).toContain(message);
  });

  it.each([6e7, 1e8, 2 ** 31])('the id %d in tokenizer.json, at once', async id => {
    const start = performance.now();
    const error = await refusal({}, [special(id, '<|x|>')]);
    expect(performance.now() - start).toBeLessThan(2000);
    expect(error).toMatchObject({ code: 'ERR_MODEL', details: { field: 'added_tokens.3.id' } });
  });

  it('entries of added_tokens.json that are none', async () => {
    const error = await refusal({ 'added_tokens.json': { '<|x|>': '512' } });
    expect(error).toMatchObject({ code: 'ERR_MODEL', details: { field: '<|x|>' } });
  });
});
