/**
 * The format of a sharded checkpoint. Every rank writes one file, `shard-00002-of-00004.safetensors`: its part of every
 * flat parameter (shard/flat.ts), f32, under the flat's name, and of its moments under `<moment>.<flat>`. The parts of all
 * ranks behind each other are the flat. `shards.json` says where in the flats the Hugging Face tensors lie, so that any of
 * them can be read without building the model.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { MAX_RANKS } from '../config/env.js';
import { CheckpointError } from '../errors.js';
import type { FlatLayout, FlatParameter } from './flat.js';
import type { ParameterUnit } from './unit.js';

export const SHARDS_FILE = 'shards.json';

/** A Hugging Face tensor as it lies in a flat. */
export interface FlatTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Element of the flat where it starts. */
  readonly offset: number;
}

export interface ShardsFile {
  /** Number of ranks that wrote. */
  readonly worldSize: number;
  /** Updates done: every shard says it too, and which rank's it is. */
  readonly step: number;
  /** What the optimizer remembers of every flat. */
  readonly moments: readonly string[];
  /** Elements of each, padding included: a multiple of `worldSize`. */
  readonly flats: Readonly<Record<string, number>>;
  /** In the order in which a whole model is saved. */
  readonly tensors: readonly (FlatTensor & { readonly flat: string })[];
}

export const elementsOf = (shape: readonly number[]): number =>
  shape.reduce((product, length) => product * length, 1);

/** The name of a rank's file, both numbers as the ranks count: from 0, and all. */
export function shardFileName(rank: number, worldSize: number): string {
  const digits = (number: number): string => String(number).padStart(5, '0');
  return `shard-${digits(rank)}-of-${digits(worldSize)}.safetensors`;
}

/** What a shard says of itself, in the metadata of its file. */
export const shardMetadata = (rank: number, step: number): Readonly<Record<string, string>> => ({
  rank: String(rank),
  step: String(step),
});

/** The Hugging Face tensors in a flat; fused matrices are taken apart along their rows. */
export function flatTensors({ entries }: FlatLayout): FlatTensor[] {
  return entries.flatMap(({ parameter, offset }) => {
    const rowShape = parameter.shape.slice(1);
    return parameter.sources.map(({ name, start, end }) => ({
      name,
      shape: [end - start, ...rowShape],
      offset: offset + start * elementsOf(rowShape),
    }));
  });
}

/** What `shards.json` says of a model whose flats are sharded. */
export function describeShards(
  units: readonly ParameterUnit[],
  moments: readonly string[],
  step: number,
): ShardsFile {
  const flats = units.flatMap(unit => unit.flats);
  const placed = flats.flatMap(flat =>
    flatTensors(flat.layout).map(tensor => ({ ...tensor, flat: flat.name })),
  );
  const places = new Map(placed.map(tensor => [tensor.name, tensor]));
  const order = units.flatMap(unit => unit.parameters.flatMap(({ sources }) => sources));
  return {
    worldSize: flats[0]!.shards,
    step,
    moments,
    flats: Object.fromEntries(flats.map(flat => [flat.name, flat.layout.size])),
    tensors: order.map(({ name }) => places.get(name)!),
  };
}

/** Whether every rank has a part of the model only. */
export const isSharded = (flats: readonly FlatParameter[]): boolean => flats.some(flat => flat.shards > 1);

const schema = z.strictObject({
  worldSize: z.int().min(1).max(MAX_RANKS),
  step: z.int().min(0),
  moments: z.array(z.string()),
  flats: z.record(z.string(), z.int().min(1)),
  tensors: z.array(
    z.strictObject({
      name: z.string(),
      shape: z.array(z.int().min(1)).min(1),
      flat: z.string(),
      offset: z.int().min(0),
    }),
  ),
});

/**
 * Checks a parsed `shards.json`.
 *
 * @throws CheckpointError when it is not one, or a tensor does not fit its flat
 */
export function parseShardsFile(value: unknown, folder: string): ShardsFile {
  const { data, error } = schema.safeParse(value);
  const refuse = (message: string, field?: string): CheckpointError =>
    new CheckpointError(message, {
      file: join(folder, SHARDS_FILE),
      hint: 'It is damaged: use another checkpoint.',
      ...(field !== undefined && { field }),
    });
  if (data === undefined) {
    const { message, path } = error.issues[0]!;
    throw refuse(`${message}.`, path.length === 0 ? undefined : path.join('.'));
  }
  for (const [name, size] of Object.entries(data.flats)) {
    if (size % data.worldSize === 0) continue;
    throw refuse(`${size} elements cannot be shared by ${data.worldSize} ranks.`, name);
  }
  for (const { name, shape, flat, offset } of data.tensors) {
    const size = Object.hasOwn(data.flats, flat) ? data.flats[flat]! : 0;
    if (offset + elementsOf(shape) > size) throw refuse(`It does not lie in the flat "${flat}".`, name);
  }
  return data;
}
