import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ChatMessage, PreferenceRow } from '../../src/data/rows.js';
import { ConfigError, DataError } from '../../src/errors.js';
import {
  type EncodeOptions,
  encodeInFull,
  encodePairs,
  fitToPolicy,
  prepareEncoding,
} from '../../src/tokens/encode.js';
import { encodeSequences } from '../../src/tokens/encode-sequence.js';
import { explainPair } from '../../src/tokens/explain.js';
import { explainSequences } from '../../src/tokens/explain-sequence.js';
import { loadTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.js';
import type { TokenPolicy } from '../../src/tokens/truncate.js';
import { CHAT_TEMPLATE, NEOX, STORIES, storiesWith } from './fixtures.js';

let stories: Tokenizer;
let neox: Tokenizer;
let chat: Tokenizer;
beforeAll(async () => {
  stories = await loadTokenizer(STORIES);
  neox = await loadTokenizer(NEOX);
  chat = await loadTokenizer(await storiesWith({ chat_template: `{{ bos_token }}${CHAT_TEMPLATE}` }));
});

const P = 'Be good. Query:';
const ROOMY: TokenPolicy = { maxTokens: 1000, maxPromptTokens: 500, longPrompt: 'error' };

function options(
  policy: Partial<TokenPolicy> = {},
  augmentation: Partial<EncodeOptions['augmentation']> = {},
) {
  return {
    policy: { ...ROOMY, ...policy },
    augmentation: { prompt: P, placement: null, maxTokens: 64, ...augmentation },
  } satisfies EncodeOptions;
}

const textRow = (text: string, chosen = ' yes', rejected = ' no', row = 1): PreferenceRow => ({
  kind: 'pair',
  file: 'f.jsonl',
  row,
  prompt: { kind: 'text', text },
  chosen,
  rejected,
});

const chatRow = (messages: ChatMessage[], chosen = 'yes', rejected = 'no'): PreferenceRow => ({
  ...textRow('', chosen, rejected),
  prompt: { kind: 'chat', messages },
});

/** One row, also where its answers are the same. */
function encodeOne(row: PreferenceRow, tokenizer: Tokenizer, policy: TokenPolicy) {
  const encoding = prepareEncoding([row], tokenizer, options(policy))!;
  return {
    pair: fitToPolicy(encodeInFull(row, encoding), encoding),
    sharedAugmentation: encoding.sharedAugmentation,
  };
}

const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });

describe('text', () => {
  it('is [BOS] x and answer EOS; the augmented view [BOS] p x', () => {
    for (const tokenizer of [stories, neox]) {
      const bos = tokenizer === stories ? [1] : [];
      const { pairs, sharedAugmentation, tokenizerHash } = encodePairs(
        [textRow('\n\nHuman: Hi\n\nAssistant:')],
        tokenizer,
        options(),
      );
      const x = tokenizer.encode('\n\nHuman: Hi\n\nAssistant:');
      expect([...pairs[0]!.prompt]).toEqual([...bos, ...x]);
      expect([...pairs[0]!.augmentedPrompt]).toEqual(x);
      expect([...sharedAugmentation]).toEqual([...bos, ...tokenizer.encode(P)]);
      expect(tokenizer.decode([...pairs[0]!.chosen].slice(0, -1))).toBe(
        tokenizer === stories ? 'yes' : ' yes',
      );
      expect(pairs[0]!.chosen.at(-1)).toBe(tokenizer.eosTokenId);
      expect(pairs[0]!.cut).toEqual({ promptTokens: 0, chosenTokens: 0, rejectedTokens: 0 });
      expect(tokenizerHash).toBe(tokenizer.hash);
    }
  });

  it('has one BOS and one EOS, also where the text brings its own', () => {
    const { pairs } = encodePairs([textRow('<s>Q', ' yes</s>\n', ' no')], stories, options());
    expect([...pairs[0]!.prompt].filter(id => id === 1)).toHaveLength(1);
    expect([...pairs[0]!.chosen]).toEqual([...stories.encode(' yes', { continues: true }), 2]);
  });

  it('gives an empty answer its EOS', () => {
    const { pairs } = encodePairs([textRow('Q', '', 'no')], stories, options());
    expect([...pairs[0]!.chosen]).toEqual([2]);
  });

  it('with an empty p has equal views', () => {
    const { pairs, sharedAugmentation } = encodePairs([textRow('Q')], stories, options({}, { prompt: '' }));
    expect([...sharedAugmentation, ...pairs[0]!.augmentedPrompt]).toEqual([...pairs[0]!.prompt]);
  });
});

describe('the length policy', () => {
  const words = fc
    .array(fc.constantFrom(' a', ' bird', '\n', ' Query:', ' flew', 'é', ' Be good'), {
      minLength: 1,
      maxLength: 40,
    })
    .map(list => list.join(''));
  const policies = fc
    .record({
      maxPromptTokens: fc.integer({ min: 2, max: 60 }),
      responseTokens: fc.integer({ min: 1, max: 40 }),
      longPrompt: fc.constantFrom('keep-end' as const, 'keep-start' as const),
    })
    .map(({ maxPromptTokens, responseTokens, longPrompt }) => ({
      maxPromptTokens,
      maxTokens: maxPromptTokens + responseTokens,
      longPrompt,
    }));

  it('holds for every text pair, and never touches p', () => {
    fc.assert(
      fc.property(words, words, words, policies, (prompt, chosen, rejected, policy) => {
        const { pair, sharedAugmentation } = encodeOne(textRow(prompt, chosen, rejected), stories, policy);
        expectWithinLimits(pair!, policy);
        expect([...sharedAugmentation]).toEqual([1, ...stories.encode(P)]);
        expect([...pair!.augmentedPrompt]).toEqual([...pair!.prompt].slice(1));
        const full = stories.encode(prompt);
        const kept = [...pair!.prompt].slice(1);
        expect(kept).toEqual(
          policy.longPrompt === 'keep-end' ? full.slice(-kept.length) : full.slice(0, kept.length),
        );
        expect(pair!.cut.promptTokens).toBe(full.length - kept.length);
        const answer = [...stories.encode(chosen, { continues: true }), 2];
        expect([...pair!.chosen]).toEqual(answer.slice(0, pair!.chosen.length));
        expect(pair!.chosen.length + pair!.cut.chosenTokens).toBe(answer.length);
      }),
    );
  });

  it('holds for every chat pair, and never touches p', () => {
    fc.assert(
      fc.property(
        fc.array(words, { maxLength: 2 }),
        words,
        words,
        words,
        policies,
        (turns, query, a, b, policy) => {
          const history = turns.flatMap(turn => [user(turn), assistant(turn)]);
          const row = chatRow([...history, user(query)], a, b);
          const { pair, sharedAugmentation } = encodeOne(row, chat, policy);
          expectWithinLimits(pair!, policy);
          expect(sharedAugmentation).toHaveLength(0);
          expect(pair!.augmentedPrompt[0]).toBe(1);
          const text = chat.decode([...pair!.augmentedPrompt]);
          expect(text.split(P)).toHaveLength(2);
          // What merged with p stays with it, so the augmented view may have a word more than the plain one.
          const [plain, rest] = [pair!.prompt, pair!.augmentedPrompt].map(wordsOf);
          expect(policy.longPrompt === 'keep-end' ? rest!.endsWith(plain!) : rest!.startsWith(plain!)).toBe(
            true,
          );
          expect(rest!.length - plain!.length).toBeLessThanOrEqual(6);
        },
      ),
    );
  });

  it.each(['keep-end', 'keep-start'] as const)(
    'cuts the same words in both views of a chat: %s',
    longPrompt => {
      const row = chatRow([user('one two'), assistant('three'), user('four five six')]);
      const longest = encodePairs([row], chat, options()).pairs[0]!.prompt.length;
      for (let limit = 2; limit <= longest; limit++) {
        const [pair] = encodePairs([row], chat, options({ maxPromptTokens: limit, longPrompt })).pairs;
        expect(wordsOf(pair!.augmentedPrompt)).toBe(wordsOf(pair!.prompt));
        expect(chat.decode([...pair!.augmentedPrompt])).toContain(P);
      }
    },
  );

  it('refuses a long prompt by default, naming the row and the setting', () => {
    const rows = [textRow('Q'), textRow(' bird'.repeat(40), ' yes', ' no', 7)];
    const encode = () => encodePairs(rows, stories, options({ maxPromptTokens: 20 }));
    expect(encode).toThrow(DataError);
    expect(encode).toThrow(
      /^f\.jsonl:7, field "prompt": The prompt has \d+ tokens; the limit is 20\. Set tokens\.long/,
    );
  });

  it('drops long prompts where asked to, and says how many', () => {
    const rows = [textRow(' bird'.repeat(40)), textRow('Q')];
    const policy = { maxPromptTokens: 20, longPrompt: 'drop' } as const;
    const { pairs, reports } = encodePairs(rows, stories, options(policy));
    expect(pairs).toHaveLength(1);
    expect(reports).toMatchObject([{ file: 'f.jsonl', pairs: 1, dropped: 1 }]);
    expect(() => encodePairs(rows.slice(0, 1), stories, options(policy))).toThrow('No pair is left');
  });

  it('cuts an answer at the limit, its EOS first', () => {
    const answer = neox.encode(' a bird flew away');
    for (let limit = 1; limit <= answer.length + 1; limit++) {
      const policy = { maxPromptTokens: 2, maxTokens: 1 + limit };
      const [pair] = encodePairs([textRow('Q', ' a bird flew away', ' no')], neox, options(policy)).pairs;
      expect([...pair!.chosen]).toEqual([...answer, neox.eosTokenId].slice(0, limit));
      expect(pair!.cut.chosenTokens).toBe(answer.length + 1 - limit);
    }
  });

  it('reports what was cut, file by file', () => {
    const long = ' bird'.repeat(40);
    const rows = [
      textRow(long, `${long} a`, `${long} b`),
      textRow('Q', ' yes', long, 2),
      { ...textRow('Q'), file: 'g.jsonl' },
    ];
    const policy = { maxPromptTokens: 20, maxTokens: 30, longPrompt: 'keep-end' } as const;
    const none = {
      bad: { first: [], more: [] },
      dropped: 0,
      equalAfterCut: 0,
      pairsCut: 0,
      promptsCut: 0,
      chosenCut: 0,
      rejectedCut: 0,
      endsCut: 0,
    };
    const other = { ...none, file: 'g.jsonl', pairs: 1 };
    const { pairs, reports } = encodePairs(rows, stories, options(policy));
    expect(reports).toEqual([
      { ...none, file: 'f.jsonl', pairs: 1, equalAfterCut: 1, pairsCut: 1, rejectedCut: 1 },
      other,
    ]);
    expect(pairs.map(({ row }) => row)).toEqual([2, 1]);
    // SFT reads the chosen answer only.
    const sft = encodeSequences(rows, stories, { ...options(policy), turns: 'all' });
    expect(sft.reports).toEqual([
      { ...none, file: 'f.jsonl', pairs: 2, pairsCut: 1, promptsCut: 1, endsCut: 1 },
      other,
    ]);
    expect(() => encodePairs(rows.slice(0, 1), stories, options(policy))).toThrow(
      'No pair is left: 0 prompts are too long, and 1 pairs of answers are equal once they are cut.',
    );
  });

  /** What a prompt says without p, white space and BOS. */
  function wordsOf(ids: Int32Array): string {
    return chat
      .decode([...ids].slice(1))
      .replace(P, '')
      .replaceAll(/\s/g, '');
  }

  function expectWithinLimits(
    { prompt, chosen, rejected, cut }: ReturnType<typeof encodePairs>['pairs'][number],
    { maxTokens, maxPromptTokens }: Pick<TokenPolicy, 'maxTokens' | 'maxPromptTokens'>,
  ) {
    expect(prompt.length).toBeLessThanOrEqual(maxPromptTokens);
    expect(prompt[0]).toBe(1);
    for (const [answer, cutTokens] of [
      [chosen, cut.chosenTokens],
      [rejected, cut.rejectedTokens],
    ] as const) {
      expect(prompt.length + answer.length).toBeLessThanOrEqual(maxTokens);
      expect(answer.at(-1) === 2, 'EOS ends a whole answer and no cut one').toBe(cutTokens === 0);
    }
  }
});

describe('chats', () => {
  it('are rendered by the template, the answers without what follows EOS', () => {
    const { pairs, sharedAugmentation } = encodePairs([chatRow([user('Q')])], chat, options());
    const [pair] = pairs;
    expect(chat.decode([...pair!.prompt])).toBe('<s> [user]\nQ</s> \n[assistant]\n');
    expect([...pair!.chosen]).toEqual([...chat.encode('yes', { continues: true }), 2]);
    expect(sharedAugmentation).toHaveLength(0);
    expect(chat.decode([...pair!.augmentedPrompt])).toBe(`<s> [user]\n${P} Q</s> \n[assistant]\n`);
  });

  it('have BOS only where the template writes it, whatever the tokenizer adds to a text', async () => {
    const bare = await loadTokenizer(await storiesWith({ chat_template: CHAT_TEMPLATE }));
    const [pair] = encodePairs([chatRow([user('Q')])], bare, options()).pairs;
    expect([...pair!.prompt]).toEqual(bare.encode('[user]\nQ</s>\n[assistant]\n'));
    expect(pair!.augmentedPrompt[0]).not.toBe(1);
    const inFront = options({}, { placement: 'prompt' });
    const { pairs, sharedAugmentation } = encodePairs([chatRow([user('Q')])], bare, inFront);
    expect([...sharedAugmentation]).toEqual(bare.encode(P));
    expect(pairs[0]!.augmentedPrompt).toEqual(pairs[0]!.prompt);
    expect([...encodePairs([textRow('Q')], bare, options()).pairs[0]!.prompt]).toEqual([
      1,
      ...bare.encode('Q'),
    ]);
    expect(() => encodePairs([textRow('Q'), chatRow([user('Q')])], bare, inFront)).toThrow(
      'f.jsonl:1, field "augmentation.placement": This prompt and the first one differ in whether they begin with BOS.',
    );
    // A BOS that the tokenizer adds to no text is the template's all the same, and is not cut.
    const settings = { chat_template: `{{ bos_token }}${CHAT_TEMPLATE}`, add_bos_token: false };
    const unasked = await loadTokenizer(await storiesWith(settings));
    const limits = options({ maxPromptTokens: 4, longPrompt: 'keep-end' });
    expect([...encodePairs([chatRow([user('Q')])], unasked, limits).pairs[0]!.prompt]).toEqual([
      1,
      ...unasked.encode('[user]\nQ</s>\n[assistant]\n').slice(-3),
    ]);
  });

  it('have p in the last user turn only', () => {
    const { pairs } = encodePairs([chatRow([user('Q'), assistant('A'), user('R')])], chat, options());
    const text = chat.decode([...pairs[0]!.augmentedPrompt]);
    expect(text).toContain('[user]\nQ<');
    expect(text).toContain(`[user]\n${P} R<`);
  });

  it('have p in front of everything with placement prompt', () => {
    const { pairs, sharedAugmentation } = encodePairs(
      [chatRow([user('Q')])],
      chat,
      options({}, { placement: 'prompt' }),
    );
    expect([...sharedAugmentation]).toEqual([1, ...chat.encode(P)]);
    expect([...pairs[0]!.augmentedPrompt]).toEqual([...pairs[0]!.prompt].slice(1));
  });

  it('have equal views with an empty p', () => {
    const { pairs } = encodePairs([chatRow([user('Q')])], chat, options({}, { prompt: '' }));
    expect(pairs[0]!.augmentedPrompt).toEqual(pairs[0]!.prompt);
  });

  it('find p also where the words around it repeat it', () => {
    const messages = [user(`${P} x`), assistant('A'), user(`${P} ${P} four`)];
    const { pairs } = encodePairs(
      [chatRow(messages)],
      chat,
      options({ maxPromptTokens: 12, longPrompt: 'keep-end' }),
    );
    const text = chat.decode([...pairs[0]!.augmentedPrompt]);
    expect(text).toContain(P);
    expect(text.endsWith(chat.decode([...pairs[0]!.prompt].slice(1)))).toBe(true);
  });

  it('need a template that leaves the prompt and p alone', async () => {
    const encodeWith = async (chat_template: string) =>
      encodePairs(
        [chatRow([user('Q')])],
        await loadTokenizer(await storiesWith({ chat_template })),
        options(),
      );
    await expect(encodeWith('{{ messages|length }}')).rejects.toThrow(
      'f.jsonl:1, field "chosen": The chat template does not write the answer where it can be told from the prompt.',
    );
    const upper = "{% for m in messages %}{{ m['content']|upper }}{% endfor %}";
    await expect(encodeWith(upper)).rejects.toThrow(
      'The chat template does not write augmentation.prompt as it is.',
    );
  });
});

describe('augmentation', () => {
  it('refuses a p beyond its budget', () => {
    const encode = () => encodePairs([textRow('Q')], stories, options({}, { maxTokens: 3 }));
    expect(encode).toThrow(ConfigError);
    expect(encode).toThrow('field "augmentation.prompt"');
  });

  it('has a separator, in both placements', async () => {
    const encodeWith = (row: PreferenceRow, separator: string | null, prompt = P) =>
      encodePairs([row], chat, options({}, { separator, prompt }));
    const inFront = encodeWith(textRow('Q'), '\n\n');
    expect([...inFront.sharedAugmentation]).toEqual([1, ...chat.encode(`${P}\n\n`)]);
    expect([...inFront.pairs[0]!.augmentedPrompt]).toEqual(chat.encode('Q'));
    expect([...encodeWith(textRow('Q'), null).sharedAugmentation]).toEqual([1, ...chat.encode(P)]);
    const augmentedText = (separator: string | null) =>
      chat.decode([...encodeWith(chatRow([user('Q')]), separator).pairs[0]!.augmentedPrompt]);
    expect(augmentedText(null)).toContain(`[user]\n${P} Q<`);
    expect(augmentedText('')).toContain(`[user]\n${P}Q<`);
    expect(augmentedText('\n---\n')).toContain(`[user]\n${P}\n---\nQ<`);
    expect([...encodeWith(textRow('Q'), '\n', '').sharedAugmentation]).toEqual([1]);
    const plain = encodeWith(chatRow([user('Q')]), '\n', '').pairs[0]!;
    expect(plain.augmentedPrompt).toEqual(plain.prompt);
  });

  it('keeps its separator where a chat is cut', () => {
    const row = chatRow([user('one two'), assistant('three'), user('four five six')]);
    const limits = options({ maxPromptTokens: 9, longPrompt: 'keep-end' }, { separator: '\n---\n' });
    const [pair] = encodePairs([row], chat, limits).pairs;
    expect(pair!.cut.promptTokens).toBeGreaterThan(0);
    expect(chat.decode([...pair!.augmentedPrompt])).toContain(`${P}\n---`);
  });

  it('costs nothing where nothing reads it', () => {
    const { pairs, sharedAugmentation, augmented } = encodePairs([textRow('Q')], stories, {
      ...options(),
      augmentation: null,
    });
    expect(augmented).toBe(false);
    expect(sharedAugmentation).toHaveLength(0);
    expect(pairs[0]!.augmentedPrompt).toBe(pairs[0]!.prompt);
  });

  it('refuses the last user turn of plain text', () => {
    expect(() => encodePairs([textRow('Q')], stories, options({}, { placement: 'last-user-turn' }))).toThrow(
      'f.jsonl holds plain text',
    );
  });
});

it('refuses a prompt without tokens and an empty data set', () => {
  expect(() => encodePairs([textRow('<s>')], stories, options())).toThrow('f.jsonl:1, field "prompt"');
  expect(() => encodePairs([], stories, options())).toThrow('There are no rows to encode.');
});

describe('rows none of which can be encoded', () => {
  const system = (row: number): PreferenceRow => ({
    ...chatRow([{ role: 'system', content: 'S' }, user('x'), { role: 'system', content: 'S' }]),
    row,
  });

  it('are all named, also where p is asked for', async () => {
    const tokenizer = await loadTokenizer(STORIES, { chatTemplate: 'mistral' });
    const rows = [system(1), system(2)];
    expect(() => encodePairs(rows, tokenizer, options())).toThrow('2 rows cannot be used.');
    expect(() => encodePairs(rows, tokenizer, { ...options(), onBadRow: 'skip' })).toThrow(
      'Nothing is left: none of the rows can be used.',
    );
    expect(() => explainPair(system(3), tokenizer, options())).toThrow(
      /^f\.jsonl:3: .*no place for a message/,
    );
  });
});

describe('explainPair', () => {
  it('tells of answers that are equal once they are cut', () => {
    const long = ' bird'.repeat(40);
    const row = textRow('Q', `${long} a`, `${long} b`);
    const policy = options({ maxPromptTokens: 20, maxTokens: 30 });
    expect(explainPair(row, stories, policy).fate).toBe('equal');
    expect(explainSequences(row, stories, { ...policy, turns: 'all' }).fate).toBe('used');
  });

  const row = textRow(' one two three four', ' a bird flew away', ' no');

  it('shows what stays and what is cut', () => {
    const policy = { maxPromptTokens: 3, maxTokens: 6, longPrompt: 'keep-end' } as const;
    const explained = explainPair(row, neox, options(policy));
    expect(explained).toEqual({
      file: 'f.jsonl',
      row: 1,
      fate: 'used',
      joined: {
        chosen: { text: ' two three four a bird flew', touching: false },
        rejected: { text: ' two three four no<|endoftext|>', touching: false },
      },
      ends: { decidedBy: 'tokenizer', bos: null, end: '<|endoftext|>', endTokens: 1 },
      prompt: { text: ' two three four', tokens: 3, cutText: ' one', cutTokens: 1 },
      augmentedPrompt: { text: `${P} two three four`, tokens: neox.encode(P).length + 3 },
      chosen: { text: ' a bird flew', tokens: 3, cutText: ' away<|endoftext|>', cutTokens: 2 },
      rejected: { text: ' no<|endoftext|>', tokens: 2, cutText: '', cutTokens: 0 },
    });
    const keepStart = explainPair(row, neox, options({ ...policy, longPrompt: 'keep-start' }));
    expect(keepStart.prompt).toEqual({ text: ' one two three', tokens: 3, cutText: ' four', cutTokens: 1 });
  });

  it('shows a pair that is not used in full', () => {
    for (const [longPrompt, fate] of [
      ['error', 'refused'],
      ['drop', 'dropped'],
    ] as const) {
      const explained = explainPair(row, neox, options({ maxPromptTokens: 3, maxTokens: 4, longPrompt }));
      expect(explained).toMatchObject({
        fate,
        prompt: { tokens: 4, cutTokens: 0 },
        chosen: { cutTokens: 0 },
      });
    }
  });

  it('agrees with encodePairs', () => {
    const chats = chatRow([user('Q'), assistant('A'), user('four five')]);
    const limits = options({ maxPromptTokens: 12, maxTokens: 14, longPrompt: 'keep-end' });
    const [pair] = encodePairs([chats], chat, limits).pairs;
    const explained = explainPair(chats, chat, limits);
    expect(explained.augmentedPrompt!.text).toBe(chat.decode([...pair!.augmentedPrompt]));
    expect(explained.chosen).toMatchObject({
      tokens: pair!.chosen.length,
      cutTokens: pair!.cut.chosenTokens,
    });
  });
});
