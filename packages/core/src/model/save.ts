/** From a model in memory to a Hugging Face folder that transformers opens unchanged. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../files.js';
import { copyTokenizerFiles, readJsonFile } from '../hf/folder.js';
import { type StoredTensor, writeModelWeights } from '../hf/safetensors-writer.js';
import type { CausalLM } from './causal-lm.js';

/** Weights above this size are sharded, as transformers does (5 GB). */
const MAX_SHARD_BYTES = 5_000_000_000;

/**
 * Writes config.json, f32 weights (sharded above 5 GB), and the tokenizer and generation files of `sourceFolder`.
 *
 * @param folder created if missing
 * @param sourceFolder the folder the model's configuration came from
 * @param tokenizerFolder where the tokenizer came from, if elsewhere
 */
export async function saveModel(
  model: CausalLM,
  folder: string,
  sourceFolder: string,
  tokenizerFolder = sourceFolder,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeModelWeights(folder, storedTensors(model), { maxShardBytes: MAX_SHARD_BYTES });
  await copyTokenizerFiles(sourceFolder, folder);
  if (tokenizerFolder !== sourceFolder) await copyTokenizerFiles(tokenizerFolder, folder);
  const config = (await readJsonFile(join(sourceFolder, 'config.json'))) as Record<string, unknown>;
  const dtypeKey = 'dtype' in config ? 'dtype' : 'torch_dtype';
  await writeFileAtomic(
    join(folder, 'config.json'),
    `${JSON.stringify({ ...config, [dtypeKey]: 'float32' }, null, 2)}\n`,
  );
}

/** Every tensor under its Hugging Face name; fused matrices are taken apart again. */
export function* storedTensors(model: CausalLM): Generator<StoredTensor> {
  for (const { value, sources } of model.parameters) {
    for (const { name, start, end } of sources) {
      yield {
        name,
        dtype: 'F32',
        shape: [end - start, ...value.shape.slice(1)],
        bytes: () => {
          using part = value.rows(start, end);
          return part.readBytes();
        },
      };
    }
  }
}
