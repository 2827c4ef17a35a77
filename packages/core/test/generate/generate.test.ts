import { describe, expect, it } from 'vitest';
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
    const got = [...generateTokens(model, prompt, -1, { ...greedy, maxNewTokens: 20 })];
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

  it('refuses impossible settings', async () => {
    const model = await tinyModel('llama grouped');
    const run = (options: object): number[] => [
      ...generateTokens(model, [1], -1, { ...greedy, maxNewTokens: 3, ...options }),
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
