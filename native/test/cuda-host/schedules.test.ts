/** Every kernel under several random schedules of its threads, against the processor's own kernels. */
import { expect, test } from 'vitest';
import { everyKernel, expectSameResults } from './every-kernel.js';

const withSeed = (seed: number) => everyKernel('cuda', { SRALIGN_CUDA_HOST_SEED: String(seed) });

const first = await withSeed(1);

test('every kernel gives what the processor gives', async () => {
  const onProcessor = await everyKernel('cpu');
  expect(Object.keys(first)).toEqual(Object.keys(onProcessor));
  expectSameResults(first, onProcessor);
});

test.each([2, 3, 4])('schedule %i gives the same bits', async seed => {
  expect(await withSeed(seed)).toEqual(first);
});
