/** The identity of a reference model: its configuration, its weights and how it computes. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { DType } from '@sralign/native';

/**
 * sha256 over config.json, the weight files (or the seed of random weights) and the compute type.
 *
 * @param randomSeed set when the weights are drawn instead of read
 */
export async function modelKey(folder: string, dtype: DType, randomSeed?: number): Promise<string> {
  const hash = createHash('sha256').update(`${dtype} ${randomSeed ?? 'pretrained'}\n`);
  const files = (await readdir(folder)).filter(name => name === 'config.json' || isWeights(name)).sort();
  for (const name of files) {
    if (randomSeed !== undefined && isWeights(name)) continue;
    hash.update(`${name}\n`);
    await pipeline(createReadStream(join(folder, name)), async chunks => {
      for await (const chunk of chunks) hash.update(chunk as Buffer);
    });
  }
  return hash.digest('hex');
}

const isWeights = (name: string): boolean => name.endsWith('.safetensors');
