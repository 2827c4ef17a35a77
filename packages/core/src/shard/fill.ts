/** From saved tensors to tensors in memory. */
import { cast, type Tensor } from '@sralign/native';
import { ModelError } from '../errors.js';
import { hasNonFinite } from '../hf/safetensors.js';
import { reportProgress } from '../progress.js';
import type { FlatParameter } from './flat.js';
import type { SavedTensor } from './saved-tensors.js';
import { elementsOf, flatTensors } from './shards-file.js';

const ELEMENT_TYPES: Readonly<Record<string, 'f32' | 'f16' | 'bf16'>> = {
  F32: 'f32',
  F16: 'f16',
  BF16: 'bf16',
};

/**
 * Fills this rank's part of flats, reading no other elements.
 *
 * @param find the saved tensor for a Hugging Face name
 * @param targetOf f32, in the shape of the flat's shard; its padding is left alone
 * @throws what `find` throws; ModelError, CheckpointError for tensors that do not fit or cannot be read, and NaN
 */
export async function fillShards(
  flats: readonly FlatParameter[],
  find: (name: string) => SavedTensor,
  targetOf: (flat: FlatParameter) => Tensor,
): Promise<void> {
  for (const flat of flats) {
    for (const { name, shape, offset } of flatTensors(flat.layout)) {
      const part = flat.overlap(offset, offset + elementsOf(shape));
      if (part === null) continue;
      const saved = find(name);
      checkShape(saved, shape);
      const bytes = await readChecked(saved, part.start - offset, part.end - offset);
      targetOf(flat).write(bytes, ELEMENT_TYPES[saved.dtype]!, part.start - flat.start);
    }
  }
}

/** The same for the values of flats, whose rounded copies follow. The units are to be told that the values are new. */
export async function fillValues(
  flats: readonly FlatParameter[],
  find: (name: string) => SavedTensor,
): Promise<void> {
  const total = flats.reduce((sum, { value }) => sum + 4 * value.size, 0);
  let done = 0;
  for (const flat of flats) {
    reportProgress({ phase: 'loading', done, total, unit: 'bytes' });
    await fillShards([flat], find, ({ value }) => value);
    done += 4 * flat.value.size;
  }
  reportProgress({ phase: 'loading', done, total, unit: 'bytes' });
  for (const { value, computeCopy } of flats) if (computeCopy !== null) cast({ x: value, out: computeCopy });
}

/**
 * Copies a saved tensor into an f32 tensor of the same shape.
 *
 * @throws ModelError when the shape or type does not fit, or a value is NaN or infinite
 */
export async function fillTensor(saved: SavedTensor, target: Tensor): Promise<void> {
  checkShape(saved, target.shape);
  target.write(await readChecked(saved, 0, target.size), ELEMENT_TYPES[saved.dtype]!);
}

/**
 * Elements [start, end) of a saved tensor, in its own type.
 *
 * @throws ModelError for a type that is no weight's, and NaN or infinite values; what reading throws
 */
export async function readChecked(saved: SavedTensor, start: number, end: number): Promise<Uint8Array> {
  const where = { file: saved.file, field: saved.name };
  if (!Object.hasOwn(ELEMENT_TYPES, saved.dtype)) {
    throw new ModelError(`Weights of type ${saved.dtype} are not supported.`, {
      ...where,
      hint: 'Convert the checkpoint to F32, F16 or BF16.',
    });
  }
  const bytes = await saved.read(start, end);
  if (!hasNonFinite(bytes, saved.dtype)) return bytes;
  throw new ModelError('The tensor holds NaN or infinite values.', {
    ...where,
    hint: 'The checkpoint is damaged or its training diverged; use an earlier one.',
  });
}

/** @throws ModelError when a saved tensor has another shape than the model asks for */
export function checkShape(saved: SavedTensor, shape: readonly number[]): void {
  if (saved.shape.join() === shape.join()) return;
  throw new ModelError(
    `The tensor has shape [${saved.shape.join(', ')}], but config.json asks for [${shape.join(', ')}].`,
    {
      file: saved.file,
      field: saved.name,
      hint: 'Check vocab_size and the other sizes in config.json.',
    },
  );
}
