/**
 * Training checkpoints. Where the first rank has everything: a Hugging Face folder (weights in f32) with the optimizer's
 * tensors beside it. Where every rank has a part: a shard of each (shard/shards-file.ts). With both the position of the
 * run. Resuming from one continues bit for bit, at the same number of ranks and threads.
 */
import { join } from 'node:path';
import { type Communicator, SOLO, type Tensor } from '@sralign/native';
import { z } from 'zod';
import { MAX_EPOCH, type SamplerState } from '../data/sampler.js';
import { CheckpointError } from '../errors.js';
import { type FileDigest, writeFileAtomic } from '../files.js';
import { type Companions, readJsonFile } from '../hf/folder.js';
import { NotFiniteError, type StoredTensor, writeSafetensors } from '../hf/safetensors-writer.js';
import type { CausalLM } from '../model/causal-lm.js';
import { saveModel, writeCompanions } from '../model/save.js';
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

export const STATE_FILE = 'trainer-state.json';

export interface TrainerState {
  /** Updates done. */
  readonly step: number;
  readonly sampler: SamplerState;
  /** The metric of the next two; null: none. */
  readonly keepBest: string | null;
  /** What the best evaluation so far has given, and at which step; null before the first. */
  readonly best: BestEvaluation | null;
  /** Evaluations since the best one. */
  readonly evaluationsSinceBest: number;
}

export interface BestEvaluation {
  /** checkpoint.keepBest of the run. */
  readonly metric: string;
  readonly value: number;
  readonly step: number;
}

const stateSchema = z.strictObject({
  step: z.int().min(0),
  sampler: z.strictObject({ epoch: z.int().min(0).max(MAX_EPOCH), position: z.int().min(0) }),
  keepBest: z.string().nullable(),
  best: z.strictObject({ metric: z.string(), value: z.number(), step: z.int().min(1) }).nullable(),
  evaluationsSinceBest: z.int().min(0),
});

/**
 * Writes weights, optimizer and position into `folder`. All ranks call it, and it is complete when all are done
 * (`writeFolderTogether`); every rank writes what it has, without talking to the others.
 *
 * @returns the digests of the files with tensors that this rank wrote, by name
 * @throws NotFiniteError for weights or moments that are NaN or infinite, RunError when the disk refuses
 */
export async function saveTrainerState(
  folder: string,
  model: CausalLM,
  optimizer: Optimizer,
  state: TrainerState,
  companions: Companions,
): Promise<Record<string, FileDigest>> {
  const { units, communicator, flats } = model.units;
  const { rank, worldSize } = communicator;
  const sharded = isSharded(flats);
  const digests: Record<string, FileDigest> = {};
  if (sharded) {
    const name = shardFileName(rank, worldSize);
    digests[name] = await writeShard(join(folder, name), flats, optimizer.moments, rank, state.step);
  }
  if (rank > 0) return digests;
  if (sharded) {
    const names = new Set(optimizer.moments.map(({ name }) => name));
    await writeJson(join(folder, SHARDS_FILE), describeShards(units, [...names], state.step));
    await writeCompanions(folder, companions, model.spec);
  } else {
    Object.assign(digests, await saveModel(model, folder, companions));
    const moments = momentTensors(optimizer.moments);
    digests[OPTIMIZER_FILE] = await writeSafetensors(join(folder, OPTIMIZER_FILE), moments);
  }
  await writeJson(join(folder, STATE_FILE), state);
  return digests;
}

const writeJson = (file: string, value: unknown): Promise<void> =>
  writeFileAtomic(file, `${JSON.stringify(value, null, 2)}\n`);

/** One rank's file. */
async function writeShard(
  file: string,
  flats: readonly FlatParameter[],
  moments: readonly Moment[],
  rank: number,
  step: number,
): Promise<FileDigest> {
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
  try {
    return await writeSafetensors(file, tensors, shardMetadata(rank, step));
  } catch (error) {
    throw error instanceof NotFiniteError ? (namedInFlats(flats, moments) ?? error) : error;
  }
}

/** The same error, with the name that the tensor has in the model. */
function namedInFlats(
  flats: readonly FlatParameter[],
  moments: readonly Moment[],
): NotFiniteError | undefined {
  const parts = [
    ...flats.map(flat => ({ prefix: '', flat, tensor: flat.value })),
    ...moments.map(({ name, flat, tensor }) => ({ prefix: `${name}.`, flat, tensor })),
  ];
  for (const { prefix, flat, tensor } of parts) {
    const index = tensor.toFloat32Array().findIndex(value => !Number.isFinite(value));
    const found = flatTensors(flat.layout).findLast(({ offset }) => offset <= flat.start + index);
    if (index >= 0 && found !== undefined) return new NotFiniteError(prefix + found.name);
  }
  return undefined;
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
