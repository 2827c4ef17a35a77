/**
 * Training checkpoints. Where the first rank has everything: a Hugging Face folder (weights in f32) with the optimizer's
 * tensors beside it. Where every rank has a part: a shard of each (shard/shards-file.ts). With both the position of the
 * run. Resuming from one continues bit for bit, at the same number of ranks and threads.
 */
import { join } from 'node:path';
import { type Communicator, SOLO, type Tensor } from '@sralign/native';
import { z } from 'zod';
import type { SamplerState } from '../data/sampler.js';
import { CheckpointError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { readJsonFile } from '../hf/folder.js';
import { type StoredTensor, writeSafetensors } from '../hf/safetensors-writer.js';
import type { CausalLM } from '../model/causal-lm.js';
import { saveModel, writeModelCompanions } from '../model/save.js';
import type { Moment, Optimizer } from '../optim/optimizer.js';
import { fillShards } from '../shard/fill.js';
import type { FlatParameter } from '../shard/flat.js';
import {
  OPTIMIZER_FILE,
  openCheckpoint,
  type SavedTensor,
  type SavedTensors,
} from '../shard/saved-tensors.js';
import {
  describeShards,
  elementsOf,
  flatTensors,
  isSharded,
  SHARDS_FILE,
  shardFileName,
  shardMetadata,
} from '../shard/shards-file.js';
import type { Sources } from './prepare.js';

const STATE_FILE = 'trainer-state.json';

export interface TrainerState {
  /** Updates done. */
  readonly step: number;
  readonly sampler: SamplerState;
}

const stateSchema = z.strictObject({
  step: z.int().min(0),
  sampler: z.strictObject({ epoch: z.int().min(0), position: z.int().min(0) }),
});

/**
 * Writes weights, optimizer and position into `folder`. All ranks call it, and it is complete when all are done
 * (`writeFolderTogether`); every rank writes what it has, without talking to the others.
 *
 * @throws RunError when the disk refuses
 */
export async function saveTrainerState(
  folder: string,
  model: CausalLM,
  optimizer: Optimizer,
  state: TrainerState,
  { modelFolder, tokenizerFolder }: Pick<Sources, 'modelFolder' | 'tokenizerFolder'>,
): Promise<void> {
  const { units, communicator, flats } = model.units;
  const sharded = isSharded(flats);
  if (sharded) await writeShard(folder, flats, optimizer.moments, communicator, state.step);
  if (communicator.rank > 0) return;
  if (sharded) {
    const names = new Set(optimizer.moments.map(({ name }) => name));
    await writeJson(join(folder, SHARDS_FILE), describeShards(units, [...names], state.step));
    await writeModelCompanions(folder, modelFolder, tokenizerFolder, model.spec);
  } else {
    await saveModel(model, folder, modelFolder, tokenizerFolder);
    await writeSafetensors(join(folder, OPTIMIZER_FILE), momentTensors(optimizer.moments));
  }
  await writeJson(join(folder, STATE_FILE), state);
}

const writeJson = (file: string, value: unknown): Promise<void> =>
  writeFileAtomic(file, `${JSON.stringify(value, null, 2)}\n`);

/** One rank's file. */
async function writeShard(
  folder: string,
  flats: readonly FlatParameter[],
  moments: readonly Moment[],
  { rank, worldSize }: Communicator,
  step: number,
): Promise<void> {
  const stored = (name: string, tensor: Tensor): StoredTensor => ({
    name,
    dtype: 'F32',
    shape: tensor.shape,
    bytes: () => tensor.readBytes(),
  });
  const tensors = [
    ...flats.map(flat => stored(flat.name, flat.value)),
    ...moments.map(({ name, flat, tensor }) => stored(`${name}.${flat.name}`, tensor)),
  ];
  await writeSafetensors(join(folder, shardFileName(rank, worldSize)), tensors, shardMetadata(rank, step));
}

/** The moments of a rank that has all of them, under the names of what they belong to. */
const momentTensors = (moments: readonly Moment[]): StoredTensor[] =>
  moments.flatMap(({ name: moment, flat, tensor }) =>
    flatTensors(flat.layout).map(({ name, shape, offset }) => ({
      name: `${moment}.${name}`,
      dtype: 'F32',
      shape,
      bytes: () => {
        using part = tensor.rows(offset, offset + elementsOf(shape));
        return part.readBytes();
      },
    })),
  );

/**
 * Reads the position of a checkpoint.
 *
 * @throws CheckpointError when the file is damaged
 */
export async function readTrainerState(folder: string): Promise<TrainerState> {
  const file = join(folder, STATE_FILE);
  const parsed = stateSchema.safeParse(await readJsonFile(file));
  if (parsed.success) return parsed.data;
  throw new CheckpointError('The state of this checkpoint cannot be read.', {
    file,
    hint: 'Delete this checkpoint to resume from the one before it.',
  });
}

/**
 * Fills this rank's part of the optimizer's tensors from a checkpoint and sets its step count. All ranks call it.
 *
 * @param communicator of the ranks that share the model; by default one
 * @throws CheckpointError, ModelError naming the file and the tensor that is missing or damaged
 */
export async function loadOptimizerState(
  folder: string,
  optimizer: Optimizer,
  step: number,
  communicator: Communicator = SOLO,
): Promise<void> {
  const saved = await (await openCheckpoint(folder, communicator)).moments();
  for (const { name: moment, flat, tensor } of optimizer.moments) {
    await fillShards(
      [flat],
      name => savedMoment(`${moment}.${name}`, saved, folder),
      () => tensor,
    );
  }
  optimizer.steps = step;
}

function savedMoment(name: string, saved: SavedTensors, folder: string): SavedTensor {
  const tensor = saved.get(name);
  if (tensor !== undefined) return tensor;
  throw new CheckpointError('The checkpoint has no such optimizer tensor.', {
    file: folder,
    field: name,
    hint: 'It was written with another optimizer or model; resume with the settings of the run.',
  });
}
