/** The identity of a reference model: its configuration, its weights and how it computes. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { DType } from '@sralign/native';
import { reportProgress } from '../progress.js';

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
    const file = join(folder, name);
    const { size: total } = await stat(file);
    let done = 0;
    await pipeline(createReadStream(file, { highWaterMark: 2 ** 20 }), async chunks => {
      for await (const chunk of chunks as AsyncIterable<Buffer>) {
        reportProgress({ phase: 'hashing', subject: name, done, total, unit: 'bytes' });
        hash.update(chunk);
        done += chunk.length;
      }
    });
    reportProgress({ phase: 'hashing', subject: name, done, total: done, unit: 'bytes' });
  }
  return hash.digest('hex');
}

const isWeights = (name: string): boolean => name.endsWith('.safetensors');
