/** Which tokens are trained on, beside what transformers and TRL give (fixtures/completions/peer.json says how). */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ChatMessage, PreferenceRow } from '../../src/data/rows.js';
import { stopTokens } from '../../src/generate/generate.js';
import { endOfTurn as endOf } from '../../src/tokens/completion.js';
import { encodePairs } from '../../src/tokens/encode.js';
import { explainPair } from '../../src/tokens/explain.js';
import { loadTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.js';
import { STORIES, storiesWith } from './fixtures.js';

interface Peer {
  readonly addedTokens: readonly string[];
  readonly templates: readonly {
    name: string;
    template: string;
    bos: string | null;
    eos: string;
    endOfTurn: string | null;
  }[];
  readonly chats: readonly {
    template: string;
    messages: ChatMessage[];
    answer: string;
    prompt: number[];
    completion: number[];
  }[];
  readonly texts: readonly {
    prompt: string;
    answer: string;
    peerPrompt: number[];
    peerBoth: number[];
    note: string;
  }[];
}

const peer = JSON.parse(
  readFileSync(new URL('../fixtures/completions/peer.json', import.meta.url), 'utf8'),
) as Peer;

const roomy = { maxTokens: 1000, maxPromptTokens: 500, longPrompt: 'error' } as const;

function encode(tokenizer: Tokenizer, prompt: PreferenceRow['prompt'], answer: string, policy = {}) {
  const row = { kind: 'pair' as const, file: 'f.jsonl', row: 1, prompt, chosen: answer, rejected: 'no' };
  const options = { policy: { ...roomy, ...policy }, augmentation: null };
  const [pair] = encodePairs([row], tokenizer, options).pairs;
  const { ends } = explainPair(row, tokenizer, options);
  return { prompt: [...pair!.prompt], completion: [...pair!.chosen], cut: pair!.cut, ends };
}

async function tokenizerOf(name: string, settings: Record<string, unknown> = {}): Promise<Tokenizer> {
  const { template, bos, eos } = peer.templates.find(entry => entry.name === name)!;
  // The tokenizer itself would put BOS in front of every text.
  const own = { chat_template: template, bos_token: bos ?? '<s>', eos_token: eos, add_bos_token: true };
  return loadTokenizer(await storiesWith({ ...own, ...settings }, peer.addedTokens));
}

const chat = (messages: readonly ChatMessage[]) => ({ kind: 'chat', messages }) as const;
const text = (prompt: string) => ({ kind: 'text', text: prompt }) as const;
const user = (content: string): ChatMessage => ({ role: 'user', content });

describe('a chat gives the tokens of transformers', () => {
  it.each(peer.templates)('$name', async ({ name, bos, endOfTurn }) => {
    const tokenizer = await tokenizerOf(name);
    const cases = peer.chats.filter(({ template }) => template === name);
    expect(cases).toHaveLength(3);
    for (const { messages, answer, prompt, completion } of cases) {
      const got = encode(tokenizer, chat(messages), answer);
      expect(got).toMatchObject({ prompt, completion });
      const begins = bos !== null && prompt[0] === tokenizer.bosTokenId;
      expect(got.ends).toEqual({
        decidedBy: 'chat template',
        bos: begins ? bos : null,
        end: endOfTurn,
        endTokens: endOfTurn === null ? 0 : 1,
      });
    }
    expect(endOf(tokenizer)?.text ?? null).toBe(endOfTurn);
  });

  it('ends at the first of several special tokens that ends a generation', async () => {
    const template =
      "{% for m in messages %}{{ m['content'] + '<|end|><|eot_id|><|end_of_text|>' }}{% endfor %}";
    const folder = await storiesWith(
      { chat_template: template, eos_token: '<|end_of_text|>' },
      peer.addedTokens,
    );
    const completion = async () => {
      const tokenizer = await loadTokenizer(folder);
      return tokenizer.decode(encode(tokenizer, chat([user('Q')]), 'yes').completion).trim();
    };
    expect(await completion()).toBe('yes<|end|><|eot_id|><|end_of_text|>');
    await writeFile(join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: [515, 518] }));
    expect(await completion()).toBe('yes<|end|><|eot_id|>');
  });

  it('is an error where the answer cannot be found', async () => {
    const folder = await storiesWith({ chat_template: "{% for m in messages %}{{ m['role'] }}{% endfor %}" });
    const tokenizer = await loadTokenizer(folder);
    expect(() => encode(tokenizer, chat([user('Q')]), 'yes')).toThrow(
      'f.jsonl:1, field "chosen": The chat template does not write the answer where it can be told from the prompt. ' +
        'Use another chat template.',
    );
  });

  it('follows a template whose words behind an answer depend on the conversation', async () => {
    const template =
      "{% for m in messages %}{{ m['content'] }}{% if loop.last and messages|length > 2 %}<|end|>{% else %}</s>{% endif %}" +
      '{% endfor %}';
    const tokenizer = await loadTokenizer(await storiesWith({ chat_template: template }, peer.addedTokens));
    const prompt = chat([user('a'), { role: 'assistant', content: 'b' }, user('c')]);
    const end = tokenizer.encode('<|end|>')[0];
    // The rendered prompt ends in a token that the answered chat has only behind the answer.
    expect(encode(tokenizer, prompt, 'yes').completion.at(-1)).toBe(end);
  });
});

describe('a cut answer', () => {
  it('of a chat has no end of turn', async () => {
    const { messages, answer, prompt, completion } = peer.chats[0]!;
    const tokenizer = await tokenizerOf('chatml');
    for (let limit = 1; limit <= completion.length; limit++) {
      const policy = { maxPromptTokens: prompt.length, maxTokens: prompt.length + limit };
      const got = encode(tokenizer, chat(messages), answer, policy);
      expect(got.completion).toEqual(completion.slice(0, limit));
      expect(got.cut.chosenTokens).toBe(completion.length - limit);
    }
  });

  it('of a text has no EOS, as TRL cuts it', async () => {
    const { prompt, answer, peerPrompt, peerBoth } = peer.texts[0]!;
    const tokenizer = await loadTokenizer(STORIES);
    for (let maxTokens = peerPrompt.length + 1; maxTokens <= peerBoth.length; maxTokens++) {
      const policy = { maxPromptTokens: peerPrompt.length, maxTokens };
      const got = encode(tokenizer, text(prompt), answer, policy);
      expect([...got.prompt, ...got.completion]).toEqual(peerBoth.slice(0, maxTokens));
    }
  });
});

describe('a text', () => {
  const textCase = (note: string) => peer.texts.filter(entry => entry.note === note);

  it('has the tokens of TRL', async () => {
    const tokenizer = await loadTokenizer(STORIES);
    for (const { prompt, answer, peerPrompt, peerBoth } of [
      ...textCase('plain'),
      ...textCase('prompt ends in a special token'),
    ]) {
      const got = encode(tokenizer, text(prompt), answer);
      expect(got.prompt).toEqual(peerPrompt);
      expect([...got.prompt, ...got.completion]).toEqual(peerBoth);
      expect(got.ends).toEqual({ decidedBy: 'tokenizer', bos: '<s>', end: '</s>', endTokens: 1 });
    }
  });

  it('has one EOS and one BOS also where the data bring their own, which TRL doubles', async () => {
    const tokenizer = await loadTokenizer(STORIES);
    const [eos] = textCase('answer EOS newline');
    expect(eos!.peerBoth.filter(id => id === 2)).toHaveLength(2);
    expect(encode(tokenizer, text(eos!.prompt), eos!.answer).completion).toEqual([407, 2]);
    const [bos] = textCase('prompt begins with BOS');
    expect(bos!.peerPrompt).toEqual([1, 1, 403]);
    expect(encode(tokenizer, text(bos!.prompt), bos!.answer).prompt).toEqual([1, 403]);
  });

  it('loses nothing behind a prompt that ends in a space, of which TRL trains on the rest of a word only', async () => {
    const tokenizer = await loadTokenizer(STORIES);
    const [space] = textCase('prompt ends in a space');
    const { prompt, completion } = encode(tokenizer, text(space!.prompt), space!.answer);
    expect(prompt).toEqual(space!.peerPrompt);
    expect(tokenizer.decode([...prompt, ...completion])).toBe('<s> Once upon a time</s>');
    expect(tokenizer.decode(space!.peerBoth.slice(prompt.length))).toBe('a time</s>');
  });
});

describe('generation', () => {
  it('stops at every EOS that the settings list and at the end of a turn', async () => {
    const { template, eos } = peer.templates.find(({ name }) => name === 'llama-3')!;
    const settings = { chat_template: template, bos_token: '<|begin_of_text|>', eos_token: eos };
    const folder = await storiesWith(settings, peer.addedTokens);
    await writeFile(join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: [515, 9] }));
    await writeFile(join(folder, 'config.json'), JSON.stringify({ eos_token_id: 7 }));
    const tokenizer = await loadTokenizer(folder);
    expect(stopTokens(tokenizer)).toEqual([515, 9, 7, tokenizer.encode('<|eot_id|>')[0]]);
    expect(stopTokens(await loadTokenizer(STORIES))).toEqual([2]);
  });

  it('stops at EOS where the template refuses a short question', async () => {
    const template = "{{ raise_exception('no') }}";
    expect(stopTokens(await loadTokenizer(await storiesWith({ chat_template: template })))).toEqual([2]);
  });
});
