/** From a Hugging Face folder to a model in memory. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { DType, Tensor } from '@sralign/native';
import { ModelError } from '../errors.js';
import { readJsonFile } from '../hf/folder.js';
import { hasNonFinite, openWeights, readTensorBytes, type TensorEntry } from '../hf/safetensors.js';
import type { CausalLM } from './causal-lm.js';
import { GptNeox } from './gpt-neox.js';
import { Llama } from './llama.js';
import { type ParameterValues, randomValues } from './parameters.js';
import { type ModelSpec, parseModelSpec } from './spec.js';

export interface LoadModelOptions {
  /** Compute type: f32 (default), or bf16 products with f32 master weights. */
  readonly dtype?: DType;
  /** Draw the weights from this seed instead of reading them; the folder then needs only config.json. */
  readonly randomSeed?: number;
}

/**
 * Loads a GPT-NeoX, Llama or Mistral model: `config.json` and `model.safetensors`, or shards with
 * `model.safetensors.index.json`; weights in f32, f16 or bf16.
 *
 * @throws ModelError for a missing or damaged file, an unsupported architecture, a missing or misshapen tensor, NaN
 */
export async function loadModel(folder: string, options: LoadModelOptions = {}): Promise<CausalLM> {
  const spec = await readModelSpec(folder);
  const values =
    options.randomSeed === undefined
      ? await checkpointValues(folder)
      : randomValues(spec.initializerRange, options.randomSeed);
  return createModel(spec, values, options.dtype ?? 'f32');
}

/** Reads and checks the `config.json` of a model folder. */
export async function readModelSpec(folder: string): Promise<ModelSpec> {
  if (!(await stat(folder).catch(() => null))?.isDirectory()) {
    throw new ModelError('The model folder does not exist.', { file: folder });
  }
  const file = join(folder, 'config.json');
  return parseModelSpec(await readJsonFile(file), file);
}

/** Builds the model of a spec with values from any source. */
export function createModel(spec: ModelSpec, values: ParameterValues, computeType: DType): Promise<CausalLM> {
  return spec.modelType === 'gpt_neox'
    ? GptNeox.create(spec, values, computeType)
    : Llama.create(spec, values, computeType);
}

/** Names under which checkpoints store the same tensor, ours first. */
function storedNames(name: string): string[] {
  // transformers 5 calls the output matrix of GPT-NeoX lm_head in memory and writes embed_out; accept both.
  if (name === 'embed_out.weight') return [name, 'lm_head.weight'];
  // Checkpoints saved from the base model have no family prefix.
  return [name, name.replace(/^(gpt_neox|model)\./, '')];
}

const ELEMENT_TYPES: Readonly<Record<string, 'f32' | 'f16' | 'bf16'>> = {
  F32: 'f32',
  F16: 'f16',
  BF16: 'bf16',
};

async function checkpointValues(folder: string): Promise<ParameterValues> {
  const weights = await openWeights(folder);
  return {
    async fill(name, target) {
      const stored = storedNames(name).find(candidate => weights.has(candidate));
      if (stored === undefined) {
        throw new ModelError('The checkpoint does not have this tensor.', {
          file: folder,
          field: name,
          hint: 'Check that config.json belongs to these weights.',
        });
      }
      await fillFromEntry(weights.get(stored)!, target);
    },
  };
}

/**
 * Copies a stored tensor into an f32 tensor of the same shape.
 *
 * @throws ModelError when the shape or type does not fit, or a value is NaN or infinite
 */
export async function fillFromEntry(entry: TensorEntry, target: Tensor): Promise<void> {
  const where = { file: entry.file, field: entry.name };
  const type = ELEMENT_TYPES[entry.dtype];
  if (type === undefined) {
    throw new ModelError(`Weights of type ${entry.dtype} are not supported.`, {
      ...where,
      hint: 'Convert the checkpoint to F32, F16 or BF16.',
    });
  }
  if (entry.shape.join() !== target.shape.join()) {
    throw new ModelError(
      `The tensor has shape [${entry.shape.join(', ')}], but config.json asks for [${target.shape.join(', ')}].`,
      { ...where, hint: 'Check vocab_size and the other sizes in config.json.' },
    );
  }
  const bytes = await readTensorBytes(entry);
  if (hasNonFinite(bytes, entry.dtype)) {
    throw new ModelError('The tensor holds NaN or infinite values.', {
      ...where,
      hint: 'The checkpoint is damaged or its training diverged; use an earlier one.',
    });
  }
  target.write(bytes, type);
}
