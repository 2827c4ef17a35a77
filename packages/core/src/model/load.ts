/** From a Hugging Face folder or a training checkpoint to a model in memory. */
import { join } from 'node:path';
import { type DType, SOLO } from '@sralign/native';
import { ModelError } from '../errors.js';
import { look } from '../files.js';
import { readJsonFile } from '../hf/folder.js';
import { resolveModelFolder } from '../hf/resolve.js';
import { fillValues } from '../shard/fill.js';
import { openCheckpoint } from '../shard/saved-tensors.js';
import type { ShardingOptions } from '../shard/unit.js';
import type { CausalLM } from './causal-lm.js';
import { GptNeox } from './gpt-neox.js';
import { Llama } from './llama.js';
import { type ParameterValues, randomValues, type StoredShapes } from './parameters.js';
import { type ModelSpec, parseModelSpec } from './spec.js';
import { StoredWeights } from './stored-weights.js';

export interface LoadModelOptions {
  /** Compute type: f32 (default), or bf16 products with f32 master weights. */
  readonly dtype?: DType;
  /** Draw the weights from this seed instead of reading them; the folder then needs only config.json. */
  readonly randomSeed?: number;
  /** Branch, tag or commit of a model of the hub; default main. */
  readonly revision?: string;
  /** The ranks that share the parameters, each of which calls this with a folder; by default one. */
  readonly sharding?: ShardingOptions;
}

/**
 * Loads a GPT-NeoX, Llama or Mistral model: `config.json` and `model.safetensors`, or shards with
 * `model.safetensors.index.json`; weights in f32, f16 or bf16. A sharded checkpoint (shard/shards-file.ts) is loaded by any
 * number of ranks.
 *
 * @param model a folder, a run, a step of a run or a hub id (hf/resolve.ts)
 * @throws as `resolveModelFolder`; ModelError for a missing or damaged file, an unsupported architecture, a missing, misshapen or unknown tensor, NaN;
 *   CheckpointError naming the shard that is missing or damaged
 */
export async function loadModel(model: string, options: LoadModelOptions = {}): Promise<CausalLM> {
  const { revision, randomSeed, sharding } = options;
  if (sharding !== undefined) return loadFolder(model, options, sharding);
  const need = randomSeed === undefined ? 'weights' : 'config';
  const folder = await resolveModelFolder(model, revision, { need });
  return loadFolder(folder, options, { communicator: SOLO, sharding: 'none' });
}

async function loadFolder(
  folder: string,
  { dtype = 'f32', randomSeed }: LoadModelOptions,
  sharding: ShardingOptions,
): Promise<CausalLM> {
  const { communicator } = sharding;
  const file = join(folder, 'config.json');
  // The first rank's: where hosts share no file system, a checkpoint has it only on the first rank's.
  const [config] = communicator.exchange(communicator.rank === 0 ? await readConfig(folder) : null);
  const spec = parseModelSpec(config, file);
  if (randomSeed !== undefined) {
    return createModel(spec, randomValues(spec.initializerRange, randomSeed), dtype, sharding);
  }
  const tensors = await (await openCheckpoint(folder, communicator)).weights();
  const weights = await StoredWeights.open(spec, tensors, folder, communicator);
  // Left open, so that a rank reads its own part of the weights only.
  const model = await createModel(weights.spec, weights, dtype, sharding);
  try {
    weights.checkNothingLeft();
    model.notices.push(...weights.notices);
    await fillModel(model, weights);
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/**
 * Replaces the weights of a model by those of a checkpoint of it. All ranks that share the model call it.
 *
 * @throws ModelError, CheckpointError as `loadModel`
 */
export async function loadWeights(model: CausalLM, folder: string): Promise<void> {
  const { communicator } = model.units;
  const tensors = await (await openCheckpoint(folder, communicator)).weights();
  await fillModel(model, await StoredWeights.open(model.spec, tensors, folder, communicator));
}

async function fillModel(model: CausalLM, weights: StoredWeights): Promise<void> {
  await fillValues(model.units.flats, name => weights.find(name));
  model.units.invalidate();
}

/** Reads and checks the `config.json` of a model folder. */
export async function readModelSpec(folder: string): Promise<ModelSpec> {
  return parseModelSpec(await readConfig(folder), join(folder, 'config.json'));
}

async function readConfig(folder: string): Promise<unknown> {
  if (!(await look(folder, ModelError))?.isDirectory()) {
    throw new ModelError('The model folder does not exist.', { file: folder });
  }
  return readJsonFile(join(folder, 'config.json'));
}

/** Builds the model of a spec with values from any source; of stored shapes alone they are zeros. */
export function createModel(
  spec: ModelSpec,
  source: ParameterValues | StoredShapes,
  computeType: DType,
  sharding: ShardingOptions = { communicator: SOLO, sharding: 'none' },
): Promise<CausalLM> {
  return spec.modelType === 'gpt_neox'
    ? GptNeox.create(spec, source, computeType, sharding)
    : Llama.create(spec, source, computeType, sharding);
}
