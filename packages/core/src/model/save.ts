/** From a model in memory to a Hugging Face folder that transformers opens unchanged. */
import { join } from 'node:path';
import { type Tensor, unscoped } from '@sralign/native';
import { type FileDigest, makeFolder, writeFileAtomic } from '../files.js';
import type { Companions } from '../hf/folder.js';
import { type StoredTensor, writeModelWeights } from '../hf/safetensors-writer.js';
import type { CausalLM } from './causal-lm.js';
import type { ModelSpec } from './spec.js';

/** Weights above this size are sharded, as transformers does (5 GB). */
export const MAX_SHARD_BYTES = 5_000_000_000;

/**
 * Writes a model folder: config.json, f32 weights (sharded above 5 GB), and the tokenizer, generation and licence files.
 *
 * All ranks call it, and the first writes; it holds one unit of the model at a time besides what it has.
 *
 * @param folder created if missing
 * @param companions of the folder that the model came from (`readCompanions`)
 * @returns the digests of the files with weights that this rank wrote, by name
 * @throws NotFiniteError for weights that are NaN or infinite, RunError when the disk refuses
 */
export async function saveModel(
  model: CausalLM,
  folder: string,
  companions: Companions,
): Promise<Record<string, FileDigest>> {
  if (model.units.communicator.rank > 0) {
    for (const unit of model.units.units)
      for (const value of unscoped(() => unit.gatherValues())) value.dispose();
    return {};
  }
  makeFolder(folder);
  const digests = await writeModelWeights(folder, storedTensors(model), { maxShardBytes: MAX_SHARD_BYTES });
  await writeCompanions(folder, companions, model.spec);
  return digests;
}

/**
 * Writes what a model folder has beside the weights, which are f32 now.
 *
 * @param spec of the model, where it may differ from what config.json says (model/stored-weights.ts)
 * @throws RunError when the disk refuses
 */
export async function writeCompanions(
  folder: string,
  { config, files }: Companions,
  spec?: ModelSpec,
): Promise<void> {
  for (const [name, bytes] of files) await writeFileAtomic(join(folder, name), bytes);
  const untied = config.tie_word_embeddings === true &&
    spec?.tiedEmbeddings === false && { tie_word_embeddings: false };
  const dtypeKey = 'dtype' in config ? 'dtype' : 'torch_dtype';
  await writeFileAtomic(
    join(folder, 'config.json'),
    `${JSON.stringify({ ...config, ...untied, [dtypeKey]: 'float32' }, null, 2)}\n`,
  );
}

/**
 * Every tensor under its Hugging Face name; fused matrices are taken apart again. Their bytes are to be asked for in this
 * order, on all ranks: a unit is gathered for its first tensor and freed after its last.
 */
export function* storedTensors(model: CausalLM): Generator<StoredTensor> {
  for (const unit of model.units.units) {
    let values: Tensor[] | null = null;
    const sources = unit.parameters.flatMap((parameter, index) =>
      parameter.sources.map(source => ({ ...source, index, rowShape: parameter.shape.slice(1) })),
    );
    for (const [place, { name, start, end, index, rowShape }] of sources.entries()) {
      yield {
        name,
        dtype: 'F32',
        shape: [end - start, ...rowShape],
        bytes: () => {
          values ??= unscoped(() => unit.gatherValues());
          using part = values[index]!.rows(start, end);
          const bytes = part.readBytes();
          if (place === sources.length - 1) {
            for (const value of values) value.dispose();
            values = null;
          }
          return bytes;
        },
      };
    }
  }
}
