import { describe, expect, it } from 'vitest';
import { ModelError } from '../../src/errors.js';
import { rotaryFrequencies } from '../../src/model/rotary.js';
import { parseModelSpec } from '../../src/model/spec.js';
import { tinyConfigs } from '../support.js';

const llama = tinyConfigs['llama grouped']!;
const neox = tinyConfigs['gpt_neox parallel']!;

describe('parseModelSpec', () => {
  it('reads the spellings of transformers 4 and 5 alike', () => {
    const four = parseModelSpec({ ...neox, rotary_pct: 0.25, rotary_emb_base: 5000 }, 'config.json');
    const { rotary_pct: _, ...bare } = neox;
    const five = parseModelSpec(
      { ...bare, rope_parameters: { rope_type: 'default', rope_theta: 5000, partial_rotary_factor: 0.25 } },
      'config.json',
    );
    expect(five).toEqual(four);
    expect(four.rotary).toEqual({ theta: 5000, dimensions: 2, llama3: null, linearFactor: 1 });
  });

  it.each([
    ['an unknown architecture', { ...llama, model_type: 'mamba' }, /"mamba" is not supported.*gpt_neox/],
    ['a missing size', { ...llama, vocab_size: undefined }, /field "vocab_size".*missing/],
    ['heads that do not divide', { ...neox, num_attention_heads: 5 }, /hidden_size must be a multiple/],
    [
      'queries that do not group',
      { ...llama, num_key_value_heads: 3 },
      /num_attention_heads must be a multiple/,
    ],
    ['an unknown activation', { ...llama, hidden_act: 'relu' }, /hidden_act must be one of silu/],
    [
      'yarn scaling',
      { ...llama, rope_scaling: { rope_type: 'yarn', factor: 4 } },
      /rope_type must be default/,
    ],
    ['a list', [], /not a JSON object/],
  ])('refuses %s', (_, config, message) => {
    expect(() => parseModelSpec(config, 'config.json')).toThrow(ModelError);
    expect(() => parseModelSpec(config, 'config.json')).toThrow(message);
  });

  it('scales frequencies as Llama 3.1 does: long waves slowed, short waves kept', () => {
    const scaling = {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    };
    const config = { ...llama, head_dim: 128, rope_theta: 500_000 };
    const plain = rotaryFrequencies(parseModelSpec(config, 'c').rotary);
    const scaled = rotaryFrequencies(parseModelSpec({ ...config, rope_scaling: scaling }, 'c').rotary);
    expect(scaled[0]).toBe(plain[0]);
    expect(scaled[63]! / plain[63]!).toBeCloseTo(1 / 8, 12);
    const middle = scaled.findIndex((value, i) => value < plain[i]! && value > plain[i]! / 8);
    const wavelength = (2 * Math.PI) / plain[middle]!;
    const smooth = (8192 / wavelength - 1) / 3;
    expect(scaled[middle]).toBeCloseTo(((1 - smooth) * plain[middle]!) / 8 + smooth * plain[middle]!, 12);
  });
});
