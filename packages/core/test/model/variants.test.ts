import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ModelError } from '../../src/errors.js';
import { readCompanions } from '../../src/hf/folder.js';
import {
  openWeights,
  readSafetensorsHeader,
  readTensorBytes,
  SINGLE_FILE,
} from '../../src/hf/safetensors.js';
import { writeSafetensors } from '../../src/hf/safetensors-writer.js';
import { loadModel } from '../../src/model/load.js';
import { sequenceLogits } from '../../src/model/logits.js';
import { saveModel } from '../../src/model/save.js';
import { parseModelSpec } from '../../src/model/spec.js';
import { temporaryFolder } from '../support.js';

/** Made by bench/peer/config_variants.py with transformers 5.18 in float64. */
const fixtures = fileURLToPath(new URL('../fixtures/config-variants', import.meta.url));

interface Variant {
  readonly family: string;
  readonly title: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** Stored tensors beside those of the base: a copy of another, or null for one that is left out. */
  readonly tensors: Readonly<Record<string, { readonly copy: string } | null>>;
  readonly logits: readonly number[];
}
const { tokens, cases } = JSON.parse(readFileSync(join(fixtures, 'variants.json'), 'utf8')) as {
  tokens: number[];
  cases: Variant[];
};
const baseFile = (family: string): string =>
  join(fixtures, `base-${family === 'mistral' ? 'llama' : family}.safetensors`);

async function writeVariant(folder: string, { family, config, tensors }: Variant): Promise<void> {
  const { entries } = await readSafetensorsHeader(baseFile(family));
  const stored = new Map([...entries].map(([name]) => [name, name]));
  for (const [name, rule] of Object.entries(tensors)) {
    if (rule === null) stored.delete(name);
    else stored.set(name, rule.copy);
  }
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(
    join(folder, SINGLE_FILE),
    [...stored].map(([name, source]) => {
      const entry = entries.get(source)!;
      return { name, dtype: 'F32', shape: entry.shape, bytes: () => readTensorBytes(entry) };
    }),
  );
}

const plain = (family: string): Variant =>
  cases.find(variant => variant.family === family && variant.title === 'plain')!;

function expectLogits(logits: Float32Array, expected: readonly number[]): void {
  const last = logits.slice(-expected.length);
  for (const [i, value] of expected.entries()) expect(last[i]).toBeCloseTo(value, 4);
}

describe('a folder with unusual keys', () => {
  it.each(cases.map(variant => [`${variant.family}: ${variant.title}`, variant] as const))(
    'gives the logits of transformers: %s',
    async (_, variant) => {
      await using folder = await temporaryFolder();
      await writeVariant(folder.path, variant);
      const model = await loadModel(folder.path);
      expectLogits(sequenceLogits(model, tokens), variant.logits);
      const differs = variant.title.includes('head differs');
      expect(model.notices.join()).toMatch(
        differs ? /differs from the embedding.*tie_word_embeddings/ : /^$/,
      );
      model.dispose();
    },
  );

  it('saves a head that was not tied as one that is not', async () => {
    await using folder = await temporaryFolder();
    await using saved = await temporaryFolder();
    const variant = cases.find(({ title }) => title === 'tied, and the stored head differs')!;
    await writeVariant(folder.path, variant);
    const model = await loadModel(folder.path);
    await saveModel(model, saved.path, await readCompanions(folder.path));
    model.dispose();
    const config = JSON.parse(await readFile(join(saved.path, 'config.json'), 'utf8')) as object;
    expect(config).toMatchObject({ tie_word_embeddings: false });
    expect([...(await openWeights(saved.path)).keys()]).toContain('lm_head.weight');
    const again = await loadModel(saved.path);
    expectLogits(sequenceLogits(again, tokens), variant.logits);
    expect(again.notices).toEqual([]);
    again.dispose();
  });

  const layer = 'model.layers.0.self_attn';
  it.each<[string, Variant, RegExp]>([
    [
      'a norm that the family does not have',
      { ...plain('llama'), tensors: { [`${layer}.q_norm.weight`]: { copy: 'model.norm.weight' } } },
      /q_norm\.weight/,
    ],
    [
      'a bias that config.json does not announce',
      { ...plain('llama'), tensors: { [`${layer}.o_proj.bias`]: { copy: 'model.norm.weight' } } },
      /o_proj\.bias/,
    ],
    [
      'more layers than config.json says',
      { ...plain('llama'), config: { ...plain('llama').config, num_hidden_layers: 1 } },
      /model\.layers\.1\..* and 4 more/,
    ],
    [
      'a bias of GPT-NeoX without attention_bias',
      { ...plain('gpt_neox'), config: { ...plain('gpt_neox').config, attention_bias: false } },
      /attention\.(dense|query_key_value)\.bias/,
    ],
  ])('refuses %s by name', async (_, variant, name) => {
    await using folder = await temporaryFolder();
    await writeVariant(folder.path, variant);
    await expect(loadModel(folder.path)).rejects.toThrow(ModelError);
    await expect(loadModel(folder.path)).rejects.toThrow(name);
    await expect(loadModel(folder.path)).rejects.toThrow(
      /tensors that a \w+ model of this config.json does not have/,
    );
  });

  it('compares sizes with the file before it takes memory', async () => {
    await using folder = await temporaryFolder();
    const variant = plain('llama');
    await writeVariant(folder.path, { ...variant, config: { ...variant.config, vocab_size: 12_000_000 } });
    const before = process.memoryUsage.rss();
    await expect(loadModel(folder.path)).rejects.toThrow(/\[48, 16\].*\[12000000, 16\].*vocab_size/s);
    expect(process.memoryUsage.rss() - before).toBeLessThan(200e6);
  });

  it.each(['config.json', SINGLE_FILE])('refuses a pipe as %s instead of waiting for it', async name => {
    await using folder = await temporaryFolder();
    await writeVariant(folder.path, plain('llama'));
    execFileSync('rm', [join(folder.path, name)]);
    execFileSync('mkfifo', [join(folder.path, name)]);
    await expect(loadModel(folder.path)).rejects.toThrow(ModelError);
    await expect(loadModel(folder.path)).rejects.toThrow(/not a regular file/);
  });
});

describe('parseModelSpec', () => {
  const llama = plain('llama').config;
  const mistral = plain('mistral').config;
  it('reads the window of Mistral as transformers does', () => {
    const { sliding_window: _, ...without } = mistral;
    const windowOf = (changes: object): number =>
      parseModelSpec({ ...without, ...changes }, 'config.json').window;
    expect(windowOf({})).toBe(4096);
    expect(windowOf({ sliding_window: null })).toBe(0);
    expect(windowOf({ sliding_window: 9 })).toBe(9);
    expect(windowOf({ sliding_window: 9, layer_types: ['sliding_attention', 'sliding_attention'] })).toBe(9);
    expect(windowOf({ sliding_window: 9, layer_types: ['full_attention', 'full_attention'] })).toBe(0);
  });

  it.each([
    [{ ...mistral, layer_types: ['full_attention', 'sliding_attention'] }, /layer_types/],
    [{ ...mistral, sliding_window: -1 }, /sliding_window must be a positive integer/],
    [{ ...llama, rms_norm_eps: -1e-5 }, /rms_norm_eps must be a positive number/],
    [{ ...llama, rope_theta: -1 }, /rope_theta must be a positive number/],
    [{ ...llama, head_dim: 0 }, /head_dim must be a positive integer/],
    [{ ...llama, num_hidden_layers: 2 ** 40 }, /num_hidden_layers must be a positive integer/],
    [{ ...llama, max_position_embeddings: 1e9 }, /max_position_embeddings must be at most 1048576/],
    [{ ...llama, quantization_config: { quant_method: 'gptq', bits: 4 } }, /quantized by GPTQ to 4 bits/],
    [
      { ...llama, rope_parameters: { rope_type: 'linear', factor: 2, partial_rotary_factor: 0.5 } },
      /partial_rotary_factor must be 1/,
    ],
    [{ ...llama, rope_parameters: { full_attention: { rope_type: 'default' } } }, /same for all layers/],
    [{ ...llama, rope_scaling: { rope_type: 'linear' } }, /factor is needed by rope_type linear/],
  ])('refuses a value that it does not compute: %j', (config, message) => {
    expect(() => parseModelSpec(config, 'config.json')).toThrow(ModelError);
    expect(() => parseModelSpec(config, 'config.json')).toThrow(message);
  });
});
