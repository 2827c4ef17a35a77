import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ChatMessage, ConversationRow, Row } from '../../src/data/rows.js';
import { BUILT_IN_TEMPLATES, type BuiltInTemplate } from '../../src/tokens/built-in-templates.js';
import { encodeRow, encodeSequences, type SequenceOptions } from '../../src/tokens/encode-sequence.js';
import { explainSequences } from '../../src/tokens/explain-sequence.js';
import { loadTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.js';
import type { TokenPolicy } from '../../src/tokens/truncate.js';
import { CHAT_TEMPLATE, NEOX, STORIES, storiesWith } from './fixtures.js';

/** Adds BOS; adds none; renders chats. */
let stories: Tokenizer;
let neox: Tokenizer;
let chat: Tokenizer;
beforeAll(async () => {
  stories = await loadTokenizer(STORIES);
  neox = await loadTokenizer(NEOX);
  chat = await loadTokenizer(await storiesWith({ chat_template: `{{ bos_token }}${CHAT_TEMPLATE}` }));
});

const ROOMY = { maxTokens: 1000, maxPromptTokens: 500, longPrompt: 'error' } as const;

function options(
  policy: Partial<TokenPolicy> = {},
  turns: SequenceOptions['turns'] = 'all',
): SequenceOptions {
  return { policy: { ...ROOMY, ...policy }, turns };
}

const place = { file: 'f.jsonl', row: 1 };
const text = (content: string): Row => ({ kind: 'text', ...place, text: content });
const completion = (prompt: string, answer: string): Row => ({
  kind: 'completion',
  ...place,
  prompt: { kind: 'text', text: prompt },
  completion: answer,
});
const conversation = (...messages: ChatMessage[]): ConversationRow => ({
  kind: 'conversation',
  ...place,
  messages,
  tools: null,
  firstTrained: 0,
});
const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });

/** The tokens that are trained on, of all sequences one behind the other, and all others. */
function split(row: Row, tokenizer: Tokenizer, given: SequenceOptions) {
  const { pairs } = encodeSequences([row], tokenizer, given);
  const select = (value: number) =>
    pairs.flatMap(({ tokens, trained }) => [...tokens].filter((_, i) => trained[i] === value));
  return { pairs, trained: select(1), given: select(0) };
}

describe('a text', () => {
  it('is trained on as a whole, with BOS in front and EOS behind', () => {
    const ids = [...stories.encode('Once upon a time').slice(1), stories.eosTokenId];
    const { pairs, trained, given } = split(text('Once upon a time'), stories, options());
    expect(pairs).toHaveLength(1);
    expect([given, trained]).toEqual([[1], stories.encode('Once upon a time').slice(-ids.length).concat(2)]);
    // Nothing predicts the first token where there is no BOS.
    const [first, ...rest] = neox.encode('Once upon a time');
    const without = split(text('Once upon a time'), neox, options());
    expect([without.given, without.trained]).toEqual([[first], [...rest, neox.eosTokenId]]);
  });

  it('has one BOS and one EOS also where it brings its own', () => {
    expect(split(text('<s>Once</s>'), stories, options())).toEqual(split(text('Once'), stories, options()));
  });

  const texts = fc.string({
    unit: fc.constantFrom('a', 'bird ', 'Tom', '.\n', ' the', 'é'),
    minLength: 1,
    maxLength: 80,
  });

  it('is cut into pieces that join to the whole, none lost and none trained on twice', () => {
    fc.assert(
      fc.property(texts, fc.integer({ min: 3, max: 30 }), fc.boolean(), (content, maxTokens, withBos) => {
        const tokenizer = withBos ? stories : neox;
        const whole = split(text(content), tokenizer, options());
        expect(whole.pairs).toHaveLength(1);
        const { pairs, trained } = split(
          text(content),
          tokenizer,
          options({ maxTokens, maxPromptTokens: 2 }),
        );
        expect(trained).toEqual(whole.trained);
        expect(trained.at(-1)).toBe(tokenizer.eosTokenId);
        const all = [...whole.pairs[0]!.tokens];
        let done = 1;
        for (const [i, { tokens, trained: mask, cut }] of pairs.entries()) {
          expect(tokens.length).toBeLessThanOrEqual(maxTokens);
          // All but the last are full.
          if (i < pairs.length - 1) expect(tokens.length).toBe(maxTokens);
          expect([...mask]).toEqual([0, ...Array.from({ length: tokens.length - 1 }, () => 1)]);
          expect(cut).toEqual({ promptTokens: 0, endTokens: 0 });
          // In front stands BOS, or what stood there in the text.
          expect(tokens[0]).toBe(withBos ? 1 : all[done - 1]);
          expect([...tokens.subarray(1)]).toEqual(all.slice(done, done + tokens.length - 1));
          done += tokens.length - 1;
        }
        expect(done).toBe(all.length);
      }),
    );
  });
});

describe('an answer to a prompt', () => {
  it('is trained on with its EOS, the prompt is not; as the chosen answer of a pair', () => {
    const { trained, given } = split(completion('\n\nHuman: Hi\n\nAssistant:', ' Yes.'), neox, options());
    expect(given).toEqual(neox.encode('\n\nHuman: Hi\n\nAssistant:'));
    expect(trained).toEqual([...neox.encode(' Yes.'), neox.eosTokenId]);
    const prompt = { kind: 'text', text: 'Q' } as const;
    const pair: Row = { kind: 'pair', ...place, prompt, chosen: 'a', rejected: 'b' };
    expect(encodeRow(pair, stories, options())).toEqual(encodeRow(completion('Q', 'a'), stories, options()));
  });

  it('obeys the rules of long prompts', () => {
    const long = completion(' one two three four', ' yes');
    const policy = (longPrompt: TokenPolicy['longPrompt']) =>
      options({ maxPromptTokens: 2, maxTokens: 4, longPrompt });
    expect(encodeRow(long, neox, policy('drop'))).toBe('dropped');
    expect(() => encodeRow(long, neox, policy('error'))).toThrow(
      'f.jsonl:1, field "prompt": The prompt has 4 tokens',
    );
    expect(split(long, neox, policy('keep-end')).given).toEqual(neox.encode(' three four'));
  });
});

describe('a conversation', () => {
  const long = conversation(user('Hi'), assistant('one two'), user('And?'), assistant('three four'));

  it('is cut at its end: no end of a turn is taught where none stood, and nothing is kept behind the last answer', () => {
    const [whole] = encodeRow(long, chat, options()) as { tokens: Int32Array; trained: Uint8Array }[];
    const { tokens, trained } = whole!;
    for (let maxTokens = tokens.length; maxTokens > trained.indexOf(1); maxTokens--) {
      const [cut] = encodeRow(long, chat, options({ maxTokens })) as never as [
        { tokens: Int32Array; trained: Uint8Array; cut: object },
      ];
      const kept = trained.lastIndexOf(1, maxTokens - 1) + 1;
      expect(cut.tokens).toEqual(tokens.slice(0, kept));
      expect(cut.trained).toEqual(trained.slice(0, kept));
      expect(cut.cut).toEqual({ promptTokens: 0, endTokens: tokens.length - kept });
    }
  });

  it('whose first answer begins behind the limit has a prompt that is too long, as an answer to it', () => {
    const policy = (longPrompt: TokenPolicy['longPrompt']) =>
      options({ maxTokens: 12, maxPromptTokens: 8, longPrompt });
    const late = conversation(user('one two three four five six'), ...long.messages.slice(1));
    expect(() => encodeRow(late, chat, policy('error'))).toThrow(
      /^f\.jsonl:1, field "prompt": The prompt has \d+ tokens; the limit is 8\./,
    );
    expect(encodeRow(late, chat, policy('drop'))).toBe('dropped');
    const [whole] = encodeRow(late, chat, options()) as { tokens: Int32Array }[];
    for (const side of ['keep-end', 'keep-start'] as const) {
      const [cut] = encodeRow(late, chat, policy(side)) as never as [
        { tokens: Int32Array; trained: Uint8Array; cut: { promptTokens: number; endTokens: number } },
      ];
      const first: Row = {
        kind: 'completion',
        ...place,
        prompt: { kind: 'chat', messages: late.messages.slice(0, 1) },
        completion: 'one two',
      };
      const [expected] = encodeRow(first, chat, policy(side)) as {
        tokens: Int32Array;
        trained: Uint8Array;
      }[];
      expect([cut.tokens, cut.trained]).toEqual([expected!.tokens, expected!.trained]);
      expect(cut.tokens.length + cut.cut.promptTokens + cut.cut.endTokens).toBe(whole!.tokens.length);
    }
  });

  it('trains with turns: last on the last answer, as on an answer to what stands before it', () => {
    const [last] = encodeRow(long, chat, options({}, 'last')) as {
      tokens: Int32Array;
      trained: Uint8Array;
    }[];
    const row: Row = {
      kind: 'completion',
      ...place,
      prompt: { kind: 'chat', messages: long.messages.slice(0, -1) },
      completion: 'three four',
    };
    expect([last]).toEqual(encodeRow(row, chat, options()));
    const [all] = encodeRow(long, chat, options()) as { tokens: Int32Array; trained: Uint8Array }[];
    expect(all!.tokens).toEqual(last!.tokens);
    const count = (trained: Uint8Array) => trained.filter(value => value === 1).length;
    expect(count(all!.trained)).toBeGreaterThan(count(last!.trained));
  });

  it('gives every answer the tokens that it has behind the conversation before it', () => {
    const words = fc.string({
      unit: fc.constantFrom('a', ' bird', 'Tom', '.\n', 'é'),
      minLength: 1,
      maxLength: 6,
    });
    const spoken = words.filter(word => word.trim() !== '');
    fc.assert(
      fc.property(fc.array(fc.tuple(spoken, spoken), { minLength: 1, maxLength: 4 }), turns => {
        const messages = turns.flatMap(([question, answer]) => [user(question), assistant(answer)]);
        const expected = turns.flatMap((_, i) => {
          const row: Row = {
            kind: 'completion',
            ...place,
            prompt: { kind: 'chat', messages: messages.slice(0, 2 * i + 1) },
            completion: messages[2 * i + 1]!.content!,
          };
          return split(row, chat, options()).trained;
        });
        expect(split(conversation(...messages), chat, options()).trained).toEqual(expected);
      }),
    );
  });
});

describe('built-in templates', () => {
  // HH has EOS behind the last answer only; between turns nothing ends an answer but the next turn.
  const ends: Record<BuiltInTemplate, readonly [string, string]> = {
    chatml: ['<|im_end|>', '<|im_end|>'],
    'llama-3': ['<|eot_id|>', '<|eot_id|>'],
    zephyr: ['</s>', '</s>'],
    mistral: ['</s>', '</s>'],
    gemma: ['<end_of_turn>', '<end_of_turn>'],
    hh: ['', '</s>'],
  };

  it.each(BUILT_IN_TEMPLATES)(
    '%s: what an assistant says is trained on, with the end of its turn',
    async name => {
      const tokenizer = await loadTokenizer(STORIES, { chatTemplate: name });
      const row = conversation(
        user('Hi'),
        assistant('one two'),
        user('And?'),
        assistant('three'),
        user('Bye'),
      );
      const [sequence] = explainSequences(row, tokenizer, options()).sequences;
      const said = sequence!.filter(({ trained }) => trained).map(({ text: shown }) => shown.trim());
      const asked = { ...row, messages: row.messages.slice(0, -1) };
      const [whole] = explainSequences(asked, tokenizer, options()).sequences;
      const [between, last] = ends[name];
      expect(said).toEqual([`one two${between}`, `three${between}`]);
      expect(whole!.filter(({ trained }) => trained).map(({ text: shown }) => shown.trim())).toEqual([
        `one two${between}`,
        `three${last}`,
      ]);
    },
  );
});

describe('explainSequences', () => {
  const textOf = (parts: readonly { trained: boolean; text: string }[]) =>
    parts.map(({ trained, text: shown }) => `${trained ? 'trained' : 'given'}: ${shown}`);

  it('shows what is trained on, and what is cut', () => {
    const row = conversation(user('Hi'), assistant('one'), user('And?'), assistant('two'), user('Bye'));
    const { fate, sequences, ends } = explainSequences(row, chat, options());
    expect(fate).toBe('used');
    expect(sequences).toHaveLength(1);
    expect(textOf(sequences[0]!)).toEqual([
      'given: <s> [user]\nHi</s> \n[assistant]\n',
      'trained: one</s>',
      'given: \n[user]\nAnd?</s> \n[assistant]\n',
      'trained: two</s>',
    ]);
    expect(ends).toEqual({ decidedBy: 'chat template', bos: '<s>', end: '</s>', endTokens: 1 });
    const prompt = explainSequences(
      completion(' one two three four', ' a bird flew away'),
      neox,
      options({ maxPromptTokens: 3, maxTokens: 6, longPrompt: 'keep-end' }),
    );
    expect(textOf(prompt.sequences[0]!)).toEqual(['given:  two three four', 'trained:  a bird flew']);
    expect(prompt.cut).toEqual({
      prompt: { text: ' one', tokens: 1 },
      end: { text: ` away${neox.specialTokens.eos_token}`, tokens: 2 },
    });
  });

  it('shows the pieces of a text', () => {
    const { sequences, ends } = explainSequences(text(' one two three'), neox, options({ maxTokens: 3 }));
    expect(sequences.map(textOf)).toEqual([
      ['given:  one', 'trained:  two three'],
      ['given:  three', `trained: ${neox.specialTokens.eos_token}`],
    ]);
    expect(ends.decidedBy).toBe('tokenizer');
  });

  it('tells of rows that are too long, whole', () => {
    const fateOf = (row: Row, tokenizer: Tokenizer, longPrompt: TokenPolicy['longPrompt']) => {
      const explained = explainSequences(
        row,
        tokenizer,
        options({ maxTokens: 5, maxPromptTokens: 2, longPrompt }),
      );
      if (explained.fate !== 'used') expect(explained.cut.end.tokens).toBe(0);
      expect(explained.sequences[0]!.at(-1)!.trained).toBe(true);
      return explained.fate;
    };
    const answer = completion(' one two three', ' four');
    expect([fateOf(answer, neox, 'error'), fateOf(answer, neox, 'drop')]).toEqual(['refused', 'dropped']);
    const row = conversation(user('one two three'), assistant('four'));
    expect([fateOf(row, chat, 'error'), fateOf(row, chat, 'keep-end')]).toEqual(['refused', 'used']);
  });
});
