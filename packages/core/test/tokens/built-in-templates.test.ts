/** Built-in chat templates beside what transformers renders with those of the models (fixtures/built-in-templates.json says how). */
import { readFileSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ChatMessage, PreferenceRow } from '../../src/data/rows.js';
import { ConfigError, ModelError } from '../../src/errors.js';
import { stopTokens } from '../../src/generate/generate.js';
import { readCompanions } from '../../src/hf/folder.js';
import { BUILT_IN_TEMPLATES } from '../../src/tokens/built-in-templates.js';
import { renderChat } from '../../src/tokens/chat-template.js';
import { endOfTurn, endOfTurnNotice } from '../../src/tokens/completion.js';
import { encodePairs } from '../../src/tokens/encode.js';
import { explainPair } from '../../src/tokens/explain.js';
import { withChatTemplate } from '../../src/tokens/saved-template.js';
import { loadTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.js';
import { CHAT_TEMPLATE, NEOX, STORIES, storiesWith } from './fixtures.js';

interface Rendering {
  readonly template: string;
  readonly messages: readonly ChatMessage[];
  readonly addGenerationPrompt: boolean;
  readonly text: string;
}

const { cases } = JSON.parse(
  readFileSync(new URL('../fixtures/built-in-templates.json', import.meta.url), 'utf8'),
) as { cases: readonly Rendering[] };

const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });
const policy = { maxTokens: 1000, maxPromptTokens: 500, longPrompt: 'error' } as const;

function encode(tokenizer: Tokenizer, messages: readonly ChatMessage[], chosen: string) {
  const prompt = { kind: 'chat', messages } as const;
  const row = { kind: 'pair', file: 'f', row: 1, prompt, chosen, rejected: 'no' } as const;
  const [pair] = encodePairs([row], tokenizer, { policy, augmentation: null }).pairs;
  return { pair: pair!, ends: explainPair(row, tokenizer, { policy, augmentation: null }).ends };
}

describe('a built-in template renders as that of the models it is from', () => {
  it.each(BUILT_IN_TEMPLATES.filter(name => name !== 'hh'))('%s', async chatTemplate => {
    const tokenizer = await loadTokenizer(STORIES, { chatTemplate });
    const own = cases.filter(({ template }) => template === chatTemplate);
    expect(own).toHaveLength(7);
    for (const { messages, addGenerationPrompt, text } of own)
      expect(renderChat(tokenizer, messages, addGenerationPrompt)).toBe(text);
  });

  it.each(['mistral', 'gemma', 'hh'])('%s says that it has no place for other roles', async chatTemplate => {
    const tokenizer = await loadTokenizer(STORIES, { chatTemplate });
    const messages = [user('a'), { role: 'system', content: 'b' } as const];
    expect(() => renderChat(tokenizer, messages, true, { file: 'f.jsonl', row: 3 })).toThrow(
      /^f\.jsonl:3: .*template has no place for a message of the role system/,
    );
  });
});

describe('hh', () => {
  const dialogue = '\n\nHuman: One\n\nAssistant: Two\n\nHuman: Three\n\nAssistant:';

  it.each([
    ['with BOS', STORIES],
    ['without', NEOX],
  ])('gives the tokens of the same dialogue as text, %s', async (_, folder) => {
    const tokenizer = await loadTokenizer(folder, { chatTemplate: 'hh' });
    const text = { prompt: { kind: 'text', text: dialogue }, chosen: ' Four', rejected: ' Five' } as const;
    const row: PreferenceRow = { kind: 'pair', file: 'f', row: 1, ...text };
    const [ofText] = encodePairs([row], tokenizer, { policy, augmentation: null }).pairs;
    const { pair } = encode(tokenizer, [user('One'), assistant('Two'), user('Three')], 'Four');
    expect([...pair.prompt]).toEqual([...ofText!.prompt]);
    expect([...pair.chosen]).toEqual([...ofText!.chosen]);
  });

  it('writes EOS behind the last answer only, and a system message first', async () => {
    const tokenizer = await loadTokenizer(NEOX, { chatTemplate: 'hh' });
    const messages = [
      { role: 'system', content: 'Be kind.' } as const,
      user('a'),
      assistant('b'),
      user('c'),
      assistant('d'),
    ];
    expect(renderChat(tokenizer, messages, false)).toBe(
      'Be kind.\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d<|endoftext|>',
    );
  });
});

describe('the end of a turn', () => {
  it.each([
    ['chatml', '<|im_end|>', 1],
    ['llama-3', '<|eot_id|>', 1],
    ['zephyr', '</s>', 1],
    ['mistral', '</s>', 1],
    ['gemma', '<end_of_turn>', 1],
    ['hh', '</s>', 1],
  ])('of %s is %s, one token where the tokenizer has it', async (chatTemplate, text, tokens) => {
    const folder = await storiesWith({}, ['<|im_end|>', '<|eot_id|>', '<end_of_turn>']);
    const tokenizer = await loadTokenizer(folder, { chatTemplate });
    expect(endOfTurn(tokenizer)).toMatchObject({ text });
    const { pair, ends } = encode(tokenizer, [user('Hi')], 'yes');
    expect(ends).toMatchObject({ end: text, endTokens: tokens });
    expect(tokenizer.decode([pair.chosen.at(-1)!])).toBe(text);
    expect(stopTokens(tokenizer)).toContain(pair.chosen.at(-1));
    expect(endOfTurnNotice(tokenizer)).toBeNull();
  });

  it.each([
    ['chatml', '<|im_end|>'],
    ['llama-3', '<|eot_id|>'],
    ['gemma', '<end_of_turn>'],
  ])('of %s is text of several tokens where it has not, and the user is told', async (chatTemplate, text) => {
    const tokenizer = await loadTokenizer(STORIES, { chatTemplate });
    const { pair, ends } = encode(tokenizer, [user('Hi')], 'yes');
    expect(tokenizer.decode([...pair.chosen]).trimStart()).toBe(`yes${text}`);
    expect(ends.end).toBe(text);
    expect(ends.endTokens).toBeGreaterThan(1);
    expect(stopTokens(tokenizer)).toEqual(tokenizer.stopTokenIds);
    expect(endOfTurnNotice(tokenizer)).toContain(
      `ends a turn with "${text}", for which the tokenizer has no token of its own: it is text of ${ends.endTokens} tokens`,
    );
  });
});

describe('a chosen template', () => {
  it('may be a file, and stands in the place of the own one', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'sralign-template-')), 'mine.jinja');
    await writeFile(file, '{% for m in messages %}({{ m.content }}){% endfor %}');
    const folder = await storiesWith({ chat_template: CHAT_TEMPLATE });
    const tokenizer = await loadTokenizer(folder, { chatTemplate: file });
    expect(renderChat(tokenizer, [user('a')], true)).toBe('(a)');
    expect(tokenizer).toMatchObject({ chatTemplateFile: file });
    expect(tokenizer.hash).not.toBe((await loadTokenizer(folder)).hash);
  });

  it('that is neither says which there are', async () => {
    const error = await loadTokenizer(STORIES, { chatTemplate: 'lama-3' }).catch(error => error);
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(
      /^field "tokens\.chatTemplate": It is neither a built-in chat template \(chatml, llama-3, .*hh\) nor a file .*Did you mean "llama-3"\?$/,
    );
  });

  it.each(['/dev/zero', tmpdir()])('that is no file is refused: %s', async chatTemplate => {
    await expect(loadTokenizer(STORIES, { chatTemplate })).rejects.toThrow(/nor a file that can be read/);
  });

  it('that is no text is named', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'sralign-template-')), 'latin.jinja');
    await writeFile(file, Buffer.from('{{ "é" }}', 'latin1'));
    await expect(loadTokenizer(STORIES, { chatTemplate: file })).rejects.toThrow(
      `${file}: The chat template is not text in UTF-8.`,
    );
  });

  it('that is no template is named by its file', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'sralign-template-')), 'bad.jinja');
    await writeFile(file, '{% for m in %}');
    const error = await loadTokenizer(STORIES, { chatTemplate: file }).catch(error => error);
    expect(error).toBeInstanceOf(ModelError);
    expect(error.message.startsWith(`${file}: The chat template is not valid`)).toBe(true);
  });
});

describe('a saved model', () => {
  const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('utf8');
  const modelWith = async (settings: object, addedTokens: readonly string[] = []): Promise<string> => {
    const folder = await storiesWith({ ...settings }, addedTokens);
    await writeFile(join(folder, 'config.json'), '{}');
    return folder;
  };

  it('has the chosen template, not the old one, and stops where it ends a turn', async () => {
    const folder = await modelWith({ chat_template: CHAT_TEMPLATE }, ['<|im_end|>']);
    const tokenizer = await loadTokenizer(folder, { chatTemplate: 'chatml' });
    const {
      companions: { files },
    } = withChatTemplate(await readCompanions(folder), tokenizer, {
      chosen: true,
      dialogues: false,
    });
    for (const [name, bytes] of files) await writeFile(join(folder, name), bytes);
    const saved = await loadTokenizer(folder);
    expect(saved.chatTemplate).toBe(tokenizer.chatTemplate);
    expect(JSON.parse(text(files.get('tokenizer_config.json')))).not.toHaveProperty('chat_template');
    expect(saved.stopTokenIds).toEqual([tokenizer.eosTokenId, 512]);
  });

  it('of dialogues of HH-RLHF has theirs where it has none of its own', async () => {
    const saved = async (folder: string) => {
      const tokenizer = await loadTokenizer(folder);
      const companions = await readCompanions(folder);
      return withChatTemplate(companions, tokenizer, { chosen: false, dialogues: true }).companions.files;
    };
    expect(text((await saved(await modelWith({}))).get('chat_template.jinja'))).toMatch(
      /^\{\{ bos_token \}\}.*Human: /,
    );
    expect((await saved(await modelWith({ chat_template: CHAT_TEMPLATE }))).has('chat_template.jinja')).toBe(
      false,
    );
  });
});
