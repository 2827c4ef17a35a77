import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tensor } from '@sralign/native';
import { describe, expect, it } from 'vitest';
import { ModelError } from '../../src/errors.js';
import { generateText } from '../../src/generate/generate.js';
import { readCompanions } from '../../src/hf/folder.js';
import { openWeights } from '../../src/hf/safetensors.js';
import { type StoredTensor, writeModelWeights } from '../../src/hf/safetensors-writer.js';
import type { CausalLM } from '../../src/model/causal-lm.js';
import { loadModel } from '../../src/model/load.js';
import { sequenceLogits } from '../../src/model/logits.js';
import { saveModel, storedTensors } from '../../src/model/save.js';
import { loadTokenizer } from '../../src/tokens/tokenizer.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const tokens = [1, 403, 407, 261, 378, 417, 290];

/** The story model's tensors, rounded to bf16, with changes to single ones. */
function* bf16Tensors(
  model: CausalLM,
  change: (tensor: StoredTensor) => StoredTensor | null,
): Generator<StoredTensor> {
  for (const { name, shape, bytes } of storedTensors(model)) {
    const tensor = change({
      name,
      shape,
      dtype: 'BF16',
      bytes: () => {
        using rounded = Tensor.empty(shape, 'bf16');
        rounded.write(bytes(), 'f32');
        return rounded.readBytes();
      },
    });
    if (tensor !== null) yield tensor;
  }
}

/** A copy of the story model in bf16 shards of at most 200 kB. */
async function writeShards(
  folder: string,
  change: (tensor: StoredTensor) => StoredTensor | null = tensor => tensor,
): Promise<void> {
  const model = await loadModel(storiesFolder);
  await cp(join(storiesFolder, 'config.json'), join(folder, 'config.json'));
  await writeModelWeights(folder, bf16Tensors(model, change), { maxShardBytes: 200_000 });
  model.dispose();
}

describe('loadModel', () => {
  it('saves and loads to the same bits, fused matrices taken apart and put together', async () => {
    await using folder = await temporaryFolder();
    const model = await loadModel(storiesFolder);
    await saveModel(model, folder.path, await readCompanions(storiesFolder));
    const again = await loadModel(folder.path);
    expect(sequenceLogits(again, tokens)).toEqual(sequenceLogits(model, tokens));
    model.dispose();
    again.dispose();
  });

  it('reads bf16 shards with an index', async () => {
    await using folder = await temporaryFolder();
    await writeShards(folder.path);
    expect((await readdir(folder.path)).filter(name => name.endsWith('.safetensors')).length).toBeGreaterThan(
      2,
    );
    const [f32, bf16] = [await loadModel(storiesFolder), await loadModel(folder.path)];
    const [expected, got] = [sequenceLogits(f32, tokens), sequenceLogits(bf16, tokens)];
    const largest = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    const difference = expected.reduce((max, value, i) => Math.max(max, Math.abs(value - got[i]!)), 0);
    expect(difference).toBeGreaterThan(0);
    expect(difference).toBeLessThan(0.03 * largest);
    f32.dispose();
    bf16.dispose();
  });

  const norm = 'model.layers.2.input_layernorm.weight';
  it.each([
    [
      'a tensor is missing',
      (t: StoredTensor) => (t.name === norm ? null : t),
      /input_layernorm\.weight.*does not have/s,
    ],
    [
      'a tensor has another shape',
      (t: StoredTensor) => (t.name === norm ? { ...t, shape: [32], bytes: () => new Uint8Array(64) } : t),
      /input_layernorm\.weight.*\[32\].*\[64\]/s,
    ],
  ])('names the tensor when %s', async (_, change, message) => {
    await using folder = await temporaryFolder();
    await writeShards(folder.path, change);
    await expect(loadModel(folder.path)).rejects.toThrow(ModelError);
    await expect(loadModel(folder.path)).rejects.toThrow(message);
  });

  it('names the tensor when a tensor holds NaN', async () => {
    await using folder = await temporaryFolder();
    await writeShards(folder.path);
    const { file, byteOffset, byteLength } = (await openWeights(folder.path)).get(norm)!;
    const bytes = await readFile(file);
    bytes.fill(0xff, byteOffset, byteOffset + byteLength);
    await writeFile(file, bytes);
    await expect(loadModel(folder.path)).rejects.toThrow(ModelError);
    await expect(loadModel(folder.path)).rejects.toThrow(/input_layernorm\.weight.*NaN/s);
  });

  it('says when config.json belongs to another vocabulary, a shard is gone, or there are no weights', async () => {
    await using folder = await temporaryFolder();
    await writeShards(folder.path);
    const file = join(folder.path, 'config.json');
    const config = await readFile(file, 'utf8');
    await writeFile(file, config.replace('"vocab_size": 512', '"vocab_size": 600'));
    await expect(loadModel(folder.path)).rejects.toThrow(
      /embed_tokens.*\[512, 64\].*\[600, 64\].*vocab_size/s,
    );
    await writeFile(file, config);
    const shard = (await readdir(folder.path)).find(name => name.endsWith('.safetensors'))!;
    await rm(join(folder.path, shard));
    await expect(loadModel(folder.path)).rejects.toThrow(/shard|missing/i);
    await rm(join(folder.path, 'model.safetensors.index.json'));
    await expect(loadModel(folder.path)).rejects.toThrow(ModelError);
    await expect(loadModel(join(folder.path, 'nowhere'))).rejects.toThrow(/There is no such folder/);
  });
});

describe('a model that was disposed', () => {
  it('says so, whatever it is used for, and may be disposed again', async () => {
    await using folder = await temporaryFolder();
    const model = await loadModel(storiesFolder);
    const tokenizer = await loadTokenizer(storiesFolder);
    model.dispose();
    model.dispose();
    const message = /^The model was disposed: its weights are freed\. Load it again by loadModel/;
    const greedy = { prompt: 'Hi', maxNewTokens: 2, temperature: 0, topP: 1, seed: 0 };
    await expect(generateText(model, tokenizer, greedy).next()).rejects.toThrow(message);
    expect(() => sequenceLogits(model, [1, 2])).toThrow(message);
    expect(() => model.zeroGradients()).toThrow(message);
    await expect(saveModel(model, folder.path, await readCompanions(storiesFolder))).rejects.toThrow(message);
  });
});
