/** Every way to name a model leads to one folder, and what is no model is named for what it is. */
import { cp, mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ModelError } from '../../src/errors.js';
import { hubIdOf } from '../../src/hf/hub.js';
import { resolveModelFolder } from '../../src/hf/resolve.js';
import { loadModel } from '../../src/model/load.js';
import { loadTokenizer } from '../../src/tokens/tokenizer.js';
import { temporaryFolder } from '../support.js';
import { startHub, useCache } from './hub-server.js';

const STORIES = fileURLToPath(new URL('../../../../examples/models/stories260k', import.meta.url));

afterEach(() => vi.unstubAllEnvs());

/** A folder of empty files, some of them with contents. */
async function folderOf(parent: string, files: Readonly<Record<string, string>>): Promise<string> {
  const folder = join(parent, 'model');
  await mkdir(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  return folder;
}

describe('a run', () => {
  async function runOf(parent: string, steps: readonly number[], final: boolean): Promise<string> {
    const run = join(parent, 'run');
    await mkdir(join(run, 'checkpoints'), { recursive: true });
    await writeFile(join(run, 'config.yaml'), '');
    for (const step of steps)
      await cp(STORIES, join(run, 'checkpoints', `step-${String(step).padStart(6, '0')}`), {
        recursive: true,
      });
    if (final) await cp(STORIES, join(run, 'final'), { recursive: true });
    return run;
  }

  it('is its final model, and RUN@step the checkpoint of a step', async () => {
    await using folder = await temporaryFolder();
    const run = await runOf(folder.path, [20, 100], true);
    expect(await resolveModelFolder(run)).toBe(join(run, 'final'));
    expect(await resolveModelFolder(`${run}@20`)).toBe(join(run, 'checkpoints/step-000020'));
    expect(await resolveModelFolder(join(run, 'checkpoints/step-000100'))).toBe(
      join(run, 'checkpoints/step-000100'),
    );
    for (const name of [run, `${run}@100`]) {
      expect((await loadTokenizer(name)).vocabularySize).toBe(512);
      const model = await loadModel(name);
      expect(model.spec.vocabularySize).toBe(512);
      model.dispose();
    }
  });

  it('without that step or without a final model says what it has', async () => {
    await using folder = await temporaryFolder();
    const run = await runOf(folder.path, [20, 100], false);
    await expect(resolveModelFolder(`${run}@50`)).rejects.toThrow(
      `${run}: The run has no checkpoint of step 50. It has ${run}@20, ${run}@100.`,
    );
    await expect(resolveModelFolder(run)).rejects.toThrow(
      `${run}: The run in this folder has no final model yet. It has ${run}@20, ${run}@100.`,
    );
    const fresh = await runOf(join(folder.path, 'other'), [], false);
    await expect(resolveModelFolder(fresh)).rejects.toThrow('It has no checkpoint either: train it first');
  });

  it('may be in a folder whose name holds an @', async () => {
    await using folder = await temporaryFolder();
    const run = await runOf(folder.path, [20], true);
    await rename(run, `${run}@20`);
    expect(await resolveModelFolder(`${run}@20`)).toBe(`${run}@20/final`);
    await symlink(`${run}@20`, join(folder.path, 'link'));
    expect(await resolveModelFolder(join(folder.path, 'link@20'))).toBe(
      join(folder.path, 'link/checkpoints/step-000020'),
    );
  });
});

describe('a folder that is no model in safetensors is named for what it is', () => {
  const adapter = JSON.stringify({ peft_type: 'LORA', base_model_name_or_path: 'org/base' });

  it.each([
    [
      'a LoRA adapter',
      { 'adapter_config.json': adapter, 'adapter_model.safetensors': '', 'tokenizer.json': '{}' },
      'This is a LoRA adapter (adapter_config.json), not a model: it holds what training has changed in its base model, org/base. Merge them once',
    ],
    ['an adapter of which only the weights are there', { 'adapter_model.bin': '' }, 'This is a LoRA adapter'],
    [
      'weights in pickles',
      { 'config.json': '{}', 'pytorch_model.bin': '' },
      'The weights are pickles of PyTorch (pytorch_model.bin). Only safetensors are read, which cannot run code. Convert it once',
    ],
    [
      'weights in many pickles',
      { 'config.json': '{}', 'pytorch_model-00001-of-00002.bin': '', 'pytorch_model.bin.index.json': '{}' },
      'pickles of PyTorch',
    ],
    [
      'GGUF',
      { 'model-q4_k_m.gguf': '', 'config.json': '{}' },
      'The weights are in the GGUF format, of llama.cpp. Use the model',
    ],
    [
      'the original layout',
      { 'consolidated.00.pth': '', 'params.json': '{}' },
      'in the original layout of Llama',
    ],
    ['another framework', { 'config.json': '{}', 'tf_model.h5': '' }, 'those of another framework'],
    [
      'an old GPTQ model',
      { 'config.json': '{}', 'model.safetensors': '', 'quantize_config.json': '{}' },
      'quantized by GPTQ (quantize_config.json). sralign trains F32, F16 and BF16 weights: use the model',
    ],
    [
      'an old AWQ model',
      { 'config.json': '{}', 'model.safetensors': '', 'quant_config.json': '{}' },
      'quantized by AWQ (quant_config.json)',
    ],
  ])('%s', async (_, files, message) => {
    await using folder = await temporaryFolder();
    const model = await folderOf(folder.path, files as Record<string, string>);
    const error = await resolveModelFolder(model).catch(error => error);
    expect(error).toBeInstanceOf(ModelError);
    expect(error.message.startsWith(`${model}: `)).toBe(true);
    expect(error.message).toContain(message);
    if (!('config.json' in files))
      await expect(resolveModelFolder(model, 'main', { need: 'config' })).rejects.toThrow(
        message.slice(0, 12),
      );
    // The tokenizer of any of them is a tokenizer.
    expect(await resolveModelFolder(model, 'main', { need: 'tokenizer' })).toBe(model);
  });

  it.each([
    ['gptq', { quant_method: 'gptq', bits: 4 }, 'quantized by GPTQ to 4 bits'],
    ['awq', { quant_method: 'awq', bits: 4 }, 'quantized by AWQ to 4 bits'],
    [
      'bitsandbytes',
      { quant_method: 'bitsandbytes', load_in_8bit: true },
      'quantized by bitsandbytes to 8 bits',
    ],
    ['fp8', { quant_method: 'fp8' }, 'quantized by fp8.'],
  ])('quantized weights of %s', async (_, quantization, message) => {
    await using folder = await temporaryFolder();
    const model = await folderOf(folder.path, {
      'config.json': JSON.stringify({ model_type: 'llama', quantization_config: quantization }),
      'model.safetensors': '',
    });
    await expect(loadModel(model)).rejects.toThrow(
      new RegExp(
        `config\\.json, field "quantization_config": The weights are ${message}.* use the model that this`,
      ),
    );
  });

  it.each([
    ['model.gguf', 'The weights are in the GGUF format'],
    ['pytorch_model.bin', 'pickles of PyTorch'],
    ['model.safetensors', 'This is a file; a model is a folder. Give the folder that it is in'],
  ])('%s given as the model', async (name, message) => {
    await using folder = await temporaryFolder();
    const model = await folderOf(folder.path, { 'config.json': '{}', [name]: '' });
    await expect(resolveModelFolder(join(model, name))).rejects.toThrow(message);
  });

  it('on the hub, before its weights are fetched', async () => {
    await using folder = await temporaryFolder();
    await using hub = await startHub({
      'adapter_config.json': adapter,
      'adapter_model.safetensors': 'weights',
      'tokenizer.json': '{}',
    });
    useCache(folder.path, { HF_ENDPOINT: hub.endpoint });
    await expect(resolveModelFolder('org/model')).rejects.toThrow(
      /^org\/model: This is a LoRA adapter .* org\/base\. Merge/,
    );
    expect(hub.asked.filter(path => path.includes('adapter_model'))).toEqual([]);
  });
});

describe('a folder of the hub cache', () => {
  it('has the id of its model', () => {
    const commit = 'a'.repeat(40);
    expect(hubIdOf(`/c/hub/models--org--my--name/snapshots/${commit}`)).toBe('org/my--name');
    expect(hubIdOf('/c/models/org')).toBeNull();
  });
});
