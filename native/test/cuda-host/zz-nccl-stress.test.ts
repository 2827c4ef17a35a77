import { expect, test } from 'vitest';
import { findMistakes } from './collectives.js';
test('stress', async () => {
  for (let seed = 10; seed < 40; seed++)
    expect(await findMistakes(2 + (seed % 3), { SRALIGN_CUDA_HOST_SEED: String(seed) })).toEqual([]);
});
