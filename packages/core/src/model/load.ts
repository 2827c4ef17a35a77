/** From a Hugging Face folder or a training checkpoint to a model in memory. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type DType, SOLO } from '@sralign/native';
import { ModelError } from '../errors.js';
import { readJsonFile } from '../hf/folder.js';
import { fillValues } from '../shard/fill.js';
import { openCheckpoint, type SavedTensor, type SavedTensors } from '../shard/saved-tensors.js';
import type { ShardingOptions } from '../shard/unit.js';
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
  /** The ranks that share the parameters, each of which calls this; by default one. */
  readonly sharding?: ShardingOptions;
}

/**
 * Loads a GPT-NeoX, Llama or Mistral model: `config.json` and `model.safetensors`, or shards with
 * `model.safetensors.index.json`; weights in f32, f16 or bf16. A sharded checkpoint (shard/shards-file.ts) is loaded by any
 * number of ranks.
 *
 * @throws ModelError for a missing or damaged file, an unsupported architecture, a missing or misshapen tensor, NaN;
 *   CheckpointError naming the shard that is missing or damaged
 */
export async function loadModel(folder: string, options: LoadModelOptions = {}): Promise<CausalLM> {
  const { dtype = 'f32', randomSeed, sharding = { communicator: SOLO, sharding: 'none' } } = options;
  const { communicator } = sharding;
  const file = join(folder, 'config.json');
  // The first rank's: where hosts share no file system, a checkpoint has it only on the first rank's.
  const [config] = communicator.exchange(communicator.rank === 0 ? await readConfig(folder) : null);
  const spec = parseModelSpec(config, file);
  if (randomSeed !== undefined) {
    return createModel(spec, randomValues(spec.initializerRange, randomSeed), dtype, sharding);
  }
  const weights = await (await openCheckpoint(folder, communicator)).weights();
  // Left open, so that a rank reads its own part of the weights only.
  const model = await createModel(spec, null, dtype, sharding);
  try {
    await fillValues(model.units.flats, name => storedAs(name, weights, folder));
    model.units.invalidate();
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** Reads and checks the `config.json` of a model folder. */
export async function readModelSpec(folder: string): Promise<ModelSpec> {
  return parseModelSpec(await readConfig(folder), join(folder, 'config.json'));
}

async function readConfig(folder: string): Promise<unknown> {
  if (!(await stat(folder).catch(() => null))?.isDirectory()) {
    throw new ModelError('The model folder does not exist.', { file: folder });
  }
  return readJsonFile(join(folder, 'config.json'));
}

/** Builds the model of a spec with values from any source; without one they are zeros. */
export function createModel(
  spec: ModelSpec,
  values: ParameterValues | null,
  computeType: DType,
  sharding: ShardingOptions = { communicator: SOLO, sharding: 'none' },
): Promise<CausalLM> {
  return spec.modelType === 'gpt_neox'
    ? GptNeox.create(spec, values, computeType, sharding)
    : Llama.create(spec, values, computeType, sharding);
}

/** Names under which checkpoints store the same tensor, ours first. */
function storedNames(name: string): string[] {
  // transformers 5 calls the output matrix of GPT-NeoX lm_head in memory and writes embed_out; accept both.
  if (name === 'embed_out.weight') return [name, 'lm_head.weight'];
  // Checkpoints saved from the base model have no family prefix.
  return [name, name.replace(/^(gpt_neox|model)\./, '')];
}

/** @throws ModelError when there is no such tensor */
function storedAs(name: string, weights: SavedTensors, folder: string): SavedTensor {
  const stored = storedNames(name).find(candidate => weights.has(candidate));
  if (stored !== undefined) return weights.get(stored)!;
  throw new ModelError('The checkpoint does not have this tensor.', {
    file: folder,
    field: name,
    hint: 'Check that config.json belongs to these weights.',
  });
}
