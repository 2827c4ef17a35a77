/** The collective operations of GPUs, with ranks in processes of their own, under several schedules of their streams. */
import { expect, test } from 'vitest';
import { findMistakes, runRanks } from './collectives.js';

test.each([1, 2, 3])('%i ranks', async size => {
  for (const seed of ['1', '2', '3']) {
    expect(await findMistakes(size, { SRALIGN_CUDA_HOST_SEED: seed })).toEqual([]);
  }
});

test('a rank that calls something else is an error of every rank', async () => {
  const outputs = await runRanks('mismatch', 2);
  for (const { lines } of outputs) {
    const errors = lines.filter(({ error }) => error !== undefined);
    expect(errors.map(({ error }) => error)).toEqual(['ERR_CUDA', 'ERR_COMMUNICATION']);
    expect(errors[1]!.message).toMatch(
      /^collectiveWait: .*rank [01] of 2.*invalid usage.*at the same time rank [01] is at operation 1, ncclAllReduce of [45] float32/,
    );
  }
});

test('a rank that does not exist is refused', async () => {
  const [output] = await runRanks('noSuchRank', 1);
  expect(output!.lines).toEqual([
    { error: 'ERR_COMMUNICATION', message: expect.stringMatching(/rank 2 of 2.*NCCL_DEBUG=INFO/) },
  ]);
});
