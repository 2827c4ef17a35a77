import { describe, expect, it, vi } from 'vitest';
import { generateText, generateTokens } from '../../src/generate/generate.js';
import { TokenSampler } from '../../src/generate/sampling.js';
import type { CausalLM } from '../../src/model/causal-lm.js';
import { loadModel } from '../../src/model/load.js';
import { sequenceLogits } from '../../src/model/logits.js';
import { loadTokenizer } from '../../src/tokens/tokenizer.js';
import { storiesFolder, tinyConfigs, tinyModel } from '../support.js';

const greedy = { temperature: 0, topP: 1, seed: 0 };

/** Greedy continuation without a cache: the whole sequence through the packed path, each time. */
function withoutCache(model: CausalLM, prompt: readonly number[], count: number): number[] {
  const tokens = [...prompt];
  for (let i = 0; i < count; i++) {
    const logits = sequenceLogits(model, tokens);
    tokens.push(new TokenSampler(greedy).next(logits.slice(-model.spec.vocabularySize)));
  }
  return tokens.slice(prompt.length);
}

describe('generation', () => {
  it.each(Object.keys(tinyConfigs))('%s: the cache gives what the whole sequence gives', async name => {
    const model = await tinyModel(name);
    const prompt = [5, 17, 90, 3];
    const got = [...generateTokens(model, prompt, [], { ...greedy, maxNewTokens: 20 })];
    expect(got).toEqual(withoutCache(model, prompt, 20));
    model.dispose();
  });

  it('the story model tells the story its authors document', async () => {
    const model = await loadModel(storiesFolder);
    const tokenizer = await loadTokenizer(storiesFolder);
    let text = 'Once upon a time';
    const options = { ...greedy, prompt: text, maxNewTokens: 120 };
    for await (const piece of generateText(model, tokenizer, options)) text += piece;
    expect(text).toMatch(
      /^Once upon a time, there was a little girl named Lily\. She loved to play outside in the park\./,
    );
    model.dispose();
  });

  it('ends at any of its stop tokens', async () => {
    const model = await tinyModel('llama grouped');
    const prompt = [5, 17, 90, 3];
    const whole = [...generateTokens(model, prompt, [], { ...greedy, maxNewTokens: 8 })];
    for (const stop of [2, 5]) {
      const stops = [100, whole[stop]!];
      const got = [...generateTokens(model, prompt, stops, { ...greedy, maxNewTokens: 8 })];
      expect(got).toEqual(whole.slice(0, whole.indexOf(whole[stop]!)));
    }
    model.dispose();
  });

  it('puts BOS in front of a text, and of a chat only what its template writes', async () => {
    const model = await loadModel(storiesFolder);
    const tokenizer = await loadTokenizer(storiesFolder);
    const first = async (prompt: string, chatTemplate: string) => {
      const seen: number[][] = [];
      const spy = vi.spyOn(model, 'hidden').mockImplementation((_graph, input) => {
        seen.push([...input.tokens.toInt32Array()]);
        throw new Error('seen');
      });
      const chat = [{ role: 'user', content: prompt }] as const;
      const asked = { ...tokenizer, chatTemplate };
      for (const given of [prompt, chat]) {
        const text = generateText(model, asked, { ...greedy, prompt: given, maxNewTokens: 1 });
        await expect(text.next()).rejects.toThrow('seen');
      }
      spy.mockRestore();
      return seen;
    };
    const content = '{{ messages[0].content }}';
    const ids = tokenizer.encode('One day');
    expect(await first('One day', content)).toEqual([[1, ...ids], ids]);
    expect(await first('One day', `{{ bos_token }}${content}`)).toEqual([
      [1, ...ids],
      [1, ...ids],
    ]);
    model.dispose();
  });

  it('refuses impossible settings', async () => {
    const model = await tinyModel('llama grouped');
    const run = (options: object): number[] => [
      ...generateTokens(model, [1], [], { ...greedy, maxNewTokens: 3, ...options }),
    ];
    expect(() => run({ maxNewTokens: 128 })).toThrow(/exceed the model's 128 positions/);
    expect(() => run({ temperature: -1 })).toThrow(/temperature/);
    expect(() => run({ topP: 0 })).toThrow(/topP/);
    model.dispose();
  });
});

describe('TokenSampler', () => {
  const logits = Float32Array.from([0.6, 0.3, 0.1].map(Math.log));
  const counts = (options: { temperature: number; topP: number }): number[] => {
    const sampler = new TokenSampler({ ...options, seed: 3 });
    const result = [0, 0, 0];
    for (let i = 0; i < 4000; i++) result[sampler.next(logits)]!++;
    return result.map(count => count / 4000);
  };

  it('draws by probability, and repeats for a seed', () => {
    const shares = counts({ temperature: 1, topP: 1 });
    expect(shares[0]).toBeCloseTo(0.6, 1);
    expect(shares[2]).toBeCloseTo(0.1, 1);
    expect(counts({ temperature: 1, topP: 1 })).toEqual(shares);
  });

  it('keeps the smallest set that reaches top-p', () => {
    expect(counts({ temperature: 1, topP: 0.5 })).toEqual([1, 0, 0]);
    const shares = counts({ temperature: 1, topP: 0.7 });
    expect(shares[2]).toBe(0);
    expect(shares[1]).toBeCloseTo(1 / 3, 1);
  });
});
