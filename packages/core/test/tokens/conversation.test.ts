/** Which tokens of conversations are trained on, beside the masks of transformers (fixtures/completions/conversations.json). */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { ChatMessage, ConversationRow } from '../../src/data/rows.js';
import { encodeSequences, type SequenceOptions } from '../../src/tokens/encode-sequence.js';
import { loadTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.js';
import type { TokenPolicy } from '../../src/tokens/truncate.js';
import { storiesWith } from './fixtures.js';

interface Peer {
  readonly addedTokens: readonly string[];
  readonly templates: readonly { name: string; template: string; bos: string; eos: string }[];
  readonly chats: readonly {
    template: string;
    messages: ChatMessage[];
    tools?: unknown[];
    tokens: number[];
    trained: number[];
  }[];
}

const peer = JSON.parse(
  readFileSync(new URL('../fixtures/completions/conversations.json', import.meta.url), 'utf8'),
) as Peer;

const roomy = { maxTokens: 1000, maxPromptTokens: 500, longPrompt: 'error' } as const;

async function tokenizerOf(name: string): Promise<Tokenizer> {
  const { template, bos, eos } = peer.templates.find(entry => entry.name === name)!;
  const settings = { chat_template: template, bos_token: bos, eos_token: eos, add_bos_token: true };
  return loadTokenizer(await storiesWith(settings, peer.addedTokens));
}

const conversation = (messages: readonly ChatMessage[], more: Partial<ConversationRow> = {}) =>
  ({
    kind: 'conversation',
    file: 'f.jsonl',
    row: 1,
    messages,
    tools: null,
    firstTrained: 0,
    ...more,
  }) as const;

function encode(
  tokenizer: Tokenizer,
  row: ConversationRow,
  policy: Partial<TokenPolicy> = {},
  turns: SequenceOptions['turns'] = 'all',
) {
  const options = { policy: { ...roomy, ...policy }, turns };
  const [sequence] = encodeSequences([row], tokenizer, options).pairs;
  return { tokens: [...sequence!.tokens], trained: [...sequence!.trained], cut: sequence!.cut };
}

describe('a conversation gives the tokens and the mask of transformers', () => {
  it.each(peer.templates)('$name', async ({ name }) => {
    const tokenizer = await tokenizerOf(name);
    const chats = peer.chats.filter(({ template }) => template === name);
    expect(chats.length).toBeGreaterThanOrEqual(4);
    for (const { messages, tools = null, tokens, trained } of chats) {
      // What follows the last answer predicts nothing that is trained on.
      const end = trained.lastIndexOf(1) + 1;
      expect(encode(tokenizer, conversation(messages, { tools }))).toEqual({
        tokens: tokens.slice(0, end),
        trained: trained.slice(0, end),
        cut: { promptTokens: 0, endTokens: 0 },
      });
    }
  });
});
