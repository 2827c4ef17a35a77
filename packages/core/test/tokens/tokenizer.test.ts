import { appendFile, cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { ModelError } from '../../src/errors.js';
import { loadTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.js';
import { NEOX, STORIES, storiesWith } from './fixtures.js';

let stories: Tokenizer;
let neox: Tokenizer;
beforeAll(async () => {
  stories = await loadTokenizer(STORIES);
  neox = await loadTokenizer(NEOX);
});

describe('loadTokenizer', () => {
  it('knows BOS, EOS and the size of the vocabulary', () => {
    expect(stories).toMatchObject({ bosTokenId: 1, eosTokenId: 2, vocabularySize: 512, chatTemplate: null });
    expect(neox).toMatchObject({
      bosTokenId: null,
      eosTokenId: 0,
      vocabularySize: 50277,
      chatTemplate: null,
    });
  });

  it('takes BOS from add_bos_token, else from the post-processor', async () => {
    expect((await loadTokenizer(await storiesWith({ add_bos_token: false }))).bosTokenId).toBeNull();
    expect((await loadTokenizer(await storiesWith({ add_bos_token: null }))).bosTokenId).toBe(1);
  });

  it('takes EOS from tokenizer_config.json, else from generation_config.json', async () => {
    const folder = await storiesWith({ eos_token: { content: '<unk>' } });
    await rm(join(folder, 'special_tokens_map.json'));
    expect((await loadTokenizer(folder)).eosTokenId).toBe(0);
    const bare = await storiesWith({ eos_token: null });
    await rm(join(bare, 'special_tokens_map.json'));
    await writeFile(join(bare, 'generation_config.json'), JSON.stringify({ eos_token_id: [2, 0] }));
    const tokenizer = await loadTokenizer(bare);
    expect(tokenizer).toMatchObject({ eosTokenId: 2, specialTokens: { eos_token: '</s>' } });
    await rm(join(bare, 'generation_config.json'));
    await expect(loadTokenizer(bare)).rejects.toThrow('The tokenizer has no end-of-sequence token.');
  });

  it('knows every id that ends a generation', async () => {
    const folder = await storiesWith({});
    await writeFile(join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: [2, 7] }));
    await writeFile(join(folder, 'config.json'), JSON.stringify({ eos_token_id: [9, 7] }));
    expect((await loadTokenizer(folder)).stopTokenIds).toEqual([2, 7, 9]);
    expect(stories.stopTokenIds).toEqual([2]);
  });

  it('takes the chat template from the settings or from chat_template.jinja', async () => {
    expect((await loadTokenizer(await storiesWith({ chat_template: 'T' }))).chatTemplate).toBe('T');
    const named = [
      { name: 'tool_use', template: 'U' },
      { name: 'default', template: 'T' },
    ];
    const folder = await storiesWith({ chat_template: named });
    expect((await loadTokenizer(folder)).chatTemplate).toBe('T');
    await writeFile(join(folder, 'chat_template.jinja'), 'J');
    expect((await loadTokenizer(folder)).chatTemplate).toBe('J');
  });

  it('has a hash of what decides the ids, and of nothing else', async () => {
    const hashWith = async (settings: Record<string, unknown>) =>
      (await loadTokenizer(await storiesWith(settings))).hash;
    expect(await hashWith({ model_max_length: 7 })).toBe(stories.hash);
    expect(await hashWith({ chat_template: 'T' })).not.toBe(stories.hash);
    expect(await hashWith({ add_bos_token: false })).not.toBe(stories.hash);
    const folder = await storiesWith({});
    await appendFile(join(folder, 'tokenizer.json'), ' ');
    expect((await loadTokenizer(folder)).hash).not.toBe(stories.hash);
  });

  it('names what is missing or damaged', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sralign-tokenizer-'));
    const file = join(folder, 'tokenizer.json');
    await expect(loadTokenizer(folder)).rejects.toThrow(ModelError);
    await expect(loadTokenizer(folder)).rejects.toThrow(`${file}: The tokenizer is missing.`);
    await writeFile(file, '{');
    await expect(loadTokenizer(folder)).rejects.toThrow(`${file}: This is not valid JSON`);
    await writeFile(file, '[]');
    await expect(loadTokenizer(folder)).rejects.toThrow(`${file}: Expected a JSON object.`);
    await writeFile(file, '{"model": {}}');
    await expect(loadTokenizer(folder)).rejects.toThrow(
      `${file}, field "model.type": This tokenizer uses a component without a type, which is not supported.`,
    );
    await writeFile(file, Buffer.from([0x7b, 0xe9, 0x7d]));
    await expect(loadTokenizer(folder)).rejects.toThrow(`${file}: The file cannot be read`);
    await cp(STORIES, folder, { recursive: true });
    await writeFile(join(folder, 'tokenizer_config.json'), 'x');
    await expect(loadTokenizer(folder)).rejects.toThrow('tokenizer_config.json: This is not valid JSON');
  });
});

describe('encode and decode', () => {
  // SentencePiece writes a space as U+2581, so a text that holds that character comes back with a space.
  const texts = fc.string({ unit: 'grapheme', maxLength: 60 }).filter(text => !text.includes('\u2581'));

  it('give back every text, in one piece or in two', () => {
    fc.assert(
      fc.property(texts, texts, (first, second) => {
        for (const tokenizer of [stories, neox]) {
          // The normaliser of the GPT-NeoX tokenizer composes characters.
          const [a, b] =
            tokenizer === neox ? [first.normalize('NFC'), second.normalize('NFC')] : [first, second];
          const ids = tokenizer.encode(a);
          expect(tokenizer.decode(ids)).toBe(a);
          if (a === '') continue;
          expect(tokenizer.decode([...ids, ...tokenizer.encode(b, { continues: true })])).toBe(a + b);
        }
      }),
    );
  });

  it('add no special token and no space before a continuation', () => {
    expect(stories.encode('a')).not.toContain(stories.bosTokenId);
    expect(stories.encode('a', { continues: true })).not.toEqual(stories.encode('a'));
    expect(stories.encode(' a', { continues: true })).toEqual(stories.encode('a'));
    expect(neox.encode('a', { continues: true })).toEqual(neox.encode('a'));
    expect(neox.encode('Hello world')).toEqual([12092, 1533]);
  });

  it('keep spaces before punctuation, and decode nothing to nothing', () => {
    expect(neox.decode(neox.encode("Well , do n't !"))).toBe("Well , do n't !");
    expect(neox.decode([])).toBe('');
  });

  it('treat the text of a special token as that token', () => {
    expect(stories.encode('a</s>')).toEqual([...stories.encode('a'), 2]);
    expect(stories.decode([1, ...stories.encode('a'), 2], { skipSpecialTokens: true })).toBe('a');
    expect(stories.decode([...stories.encode('a'), 2])).toBe('a</s>');
  });
});
