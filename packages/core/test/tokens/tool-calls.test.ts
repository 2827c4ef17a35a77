/** Tools and calls of tools that a chat template does not write: nothing may be learnt without them in silence. */
import { describe, expect, it } from 'vitest';
import type { ChatMessage, PromptContent, Row } from '../../src/data/rows.js';
import { BUILT_IN_TEMPLATES } from '../../src/tokens/built-in-templates.js';
import { renderChat } from '../../src/tokens/chat-template.js';
import { encodePairs } from '../../src/tokens/encode.js';
import { encodeSequences } from '../../src/tokens/encode-sequence.js';
import { loadTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.js';
import { CHAT_TEMPLATE, STORIES, storiesWith } from './fixtures.js';

const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });
const find = { type: 'function', function: { name: 'find', arguments: {} } };
const calls = { tool_calls: [find] };
const silent: ChatMessage = { role: 'assistant', content: null, ...calls };
const speaking: ChatMessage = { ...assistant('I look.'), ...calls };
const old: ChatMessage = { role: 'assistant', content: '', function_call: { name: 'find', arguments: '{}' } };
const result: ChatMessage = { role: 'tool', content: 'park' };
const answer = assistant('There.');

const place = { file: 'f.jsonl', row: 7 };
const policy = { maxTokens: 1000, maxPromptTokens: 500, longPrompt: 'error' } as const;

const chat = (messages: readonly ChatMessage[], tools: readonly unknown[] | null = null): PromptContent => ({
  ...{ kind: 'chat', messages, tools },
});
const pair = (prompt: PromptContent, chosen: ChatMessage): Row => ({
  ...{ kind: 'pair', ...place, prompt, chosen, rejected: 'no' },
});
const conversation = (messages: readonly ChatMessage[], tools: readonly unknown[] | null = null): Row => ({
  ...{ kind: 'conversation', ...place, messages, tools, firstTrained: 0 },
});

function encode(tokenizer: Tokenizer, row: Row, turns: 'all' | 'last' = 'all'): string {
  if (row.kind === 'pair') {
    const [made] = encodePairs([row], tokenizer, { policy, augmentation: null }).pairs;
    return tokenizer.decode([...made!.prompt, ...made!.chosen]);
  }
  return tokenizer.decode([...encodeSequences([row], tokenizer, { policy, turns }).pairs[0]!.tokens]);
}

/** Each writes something else of calls. */
const contentOnly = CHAT_TEMPLATE.replace("message['content']", "(message['content'] or '')");
const silentOnly = CHAT_TEMPLATE.replace(
  "message['content']",
  "(message['tool_calls'] | tojson if message['content'] is none else message['content'])",
);
const everything =
  '{% if tools %}{{ tools | tojson }}{% endif %}' +
  CHAT_TEMPLATE.replace(
    "message['content']",
    "(message['content'] or '') + ((message['tool_calls'] or message['function_call']) | tojson" +
      " if message['tool_calls'] or message['function_call'] else '')",
  );
const withTemplate = async (chat_template: string): Promise<Tokenizer> =>
  loadTokenizer(await storiesWith({ chat_template }));

describe('a row is refused', () => {
  it.each([
    ['of an answer', pair(chat([user('Where?')]), silent), 'chosen'],
    ['of an answer with words', pair(chat([user('Where?')]), speaking), 'chosen'],
    ['of an answer in the old form', pair(chat([user('Where?')]), old), 'chosen'],
    ['in a prompt', pair(chat([user('Where?'), silent, result]), answer), 'prompt[1]'],
    ['in a conversation', conversation([user('Where?'), speaking, result, answer]), 'messages[1]'],
    ['at its end', conversation([user('Where?'), silent]), 'messages[1]'],
  ])('whose call the template does not write: %s', async (_, row, field) => {
    for (const template of [
      contentOnly,
      CHAT_TEMPLATE.replace("message['content']", "(message['content'] | string)"),
    ]) {
      const tokenizer = await withTemplate(template);
      expect(() => encode(tokenizer, row)).toThrow(
        `f.jsonl:7, field "${field}": The chat template does not write the tool calls. Use a chat template that writes them`,
      );
    }
    expect(encode(await withTemplate(everything), row)).toContain('find');
  });

  it('where the template writes some of its calls', async () => {
    const tokenizer = await withTemplate(silentOnly);
    const messages = [user('Where?'), silent, result, speaking, result, answer];
    expect(() => encode(tokenizer, conversation(messages))).toThrow(
      'f.jsonl:7, field "messages[3]": The chat template does not write the tool calls.',
    );
    expect(encode(tokenizer, conversation(messages.filter(message => message !== speaking)))).toContain(
      'find',
    );
  });

  it.each([
    ['pairs', pair(chat([user('Where?')], [find]), answer), 'all'],
    ['conversations', conversation([user('Where?'), answer], [find]), 'all'],
    ['conversations', conversation([user('Where?'), answer], [find]), 'last'],
  ] as const)('whose tools the template does not write: %s', async (_, row, turns) => {
    const tokenizer = await withTemplate(CHAT_TEMPLATE);
    expect(() => encode(tokenizer, row, turns)).toThrow(
      'f.jsonl:7, field "tools": The chat template does not write the tools. Use a chat template',
    );
    expect(encode(await withTemplate(everything), row, turns)).toContain('find');
  });
});

it('an empty list of tools is none', async () => {
  const tokenizer = await withTemplate(CHAT_TEMPLATE);
  expect(encode(tokenizer, conversation([user('Where?'), answer], []))).toContain('There.');
});

describe.each(BUILT_IN_TEMPLATES)('the built-in template %s', chatTemplate => {
  it('refuses tools and calls', async () => {
    const tokenizer = await loadTokenizer(STORIES, { chatTemplate });
    const render = (messages: readonly ChatMessage[], tools: readonly unknown[] | null = null) =>
      renderChat(tokenizer, messages, true, place, tools);
    for (const message of [silent, speaking, old, { role: 'assistant', content: null } as const]) {
      expect(() => render([user('Where?'), message, user('And?')])).toThrow(
        `The ${chatTemplate} template does not write tool calls`,
      );
    }
    expect(() => render([user('Where?')], [find])).toThrow(
      `The ${chatTemplate} template does not write tools`,
    );
    expect(render([user('Where?'), answer, user('And?')], [])).toContain('There.');
    expect(() => encode(tokenizer, pair(chat([user('Where?')]), silent))).toThrow(
      /^f\.jsonl:7.*: .*tool calls/,
    );
  });
});
