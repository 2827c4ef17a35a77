/** From a sharded checkpoint to a model folder, without building the model: the files are read and written as bytes. */
import { join, resolve } from 'node:path';
import { SOLO } from '@sralign/native';
import { CheckpointError } from '../errors.js';
import { exists } from '../files.js';
import { readCompanions } from '../hf/folder.js';
import { localModelFolder } from '../hf/resolve.js';
import { INDEX_FILE, SINGLE_FILE } from '../hf/safetensors.js';
import { type TensorToWrite, writeModelWeights } from '../hf/safetensors-writer.js';
import { MAX_SHARD_BYTES, writeCompanions } from '../model/save.js';
import { readChecked } from '../shard/fill.js';
import { isShardedFolder, openShards, readShardsFile } from '../shard/saved-tensors.js';
import { elementsOf, SHARDS_FILE } from '../shard/shards-file.js';
import { CHECKSUMS_FILE, verifyCheckpoint } from './checksums.js';
import { writeFolder } from './commit.js';

/**
 * Writes the weights of a sharded checkpoint, in f32, as the Hugging Face folder that `saveModel` would write; one tensor
 * is in memory at a time.
 *
 * @param model a folder with the shards of all ranks, or a step of a run (hf/resolve.ts)
 * @param out a folder that does not exist
 * @throws CheckpointError when `model` is not sharded or damaged, or `out` exists; RunError when the disk
 *   refuses
 */
export async function consolidate(model: string, out: string): Promise<void> {
  const checkpoint = (await localModelFolder(model)) ?? model;
  await checkSharded(checkpoint);
  if (await exists(out, CheckpointError)) {
    throw new CheckpointError('The output folder exists already.', { file: out, hint: 'Choose a new one.' });
  }
  const { weights, checkAll } = openShards(checkpoint, await readShardsFile(checkpoint));
  await checkAll();
  if (await exists(join(checkpoint, CHECKSUMS_FILE))) await verifyCheckpoint(checkpoint, SOLO);
  const tensors = [...weights.values()].map(
    (saved): TensorToWrite => ({
      name: saved.name,
      dtype: 'F32',
      shape: saved.shape,
      bytes: () => readChecked(saved, 0, elementsOf(saved.shape)),
    }),
  );
  const companions = await readCompanions(checkpoint);
  await writeFolder(resolve(out), async temporary => {
    await writeModelWeights(temporary, tensors, { maxShardBytes: MAX_SHARD_BYTES });
    await writeCompanions(temporary, companions);
  });
}

async function checkSharded(folder: string): Promise<void> {
  if (await isShardedFolder(folder)) return;
  for (const name of [SINGLE_FILE, INDEX_FILE]) {
    if (!(await exists(join(folder, name), CheckpointError))) continue;
    throw new CheckpointError('It is a Hugging Face folder already.', { file: folder, hint: 'Copy it.' });
  }
  throw new CheckpointError(`It is no sharded checkpoint: it has no ${SHARDS_FILE}.`, {
    file: folder,
    hint: 'Give a step of a run, such as RUN@100.',
  });
}
