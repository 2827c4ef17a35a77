/**
 * That the checks can fail: each of these mistakes, made in a copy of the CUDA sources, shows in what the kernels compute
 * or is reported by the stand-in, under at least one of a few schedules.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { everyKernel, expectSameResults, type Results } from './every-kernel.js';
import { buildMutant, type Mutation } from './mutant.js';

const mutations: readonly Mutation[] = [
  {
    name: 'a reduction that does not wait for the other warps',
    unit: 'rms_norm.cu',
    file: 'common.cuh',
    from: 'if (lane == 0) partial[warp] = value;\n  __syncthreads();',
    to: 'if (lane == 0) partial[warp] = value;',
  },
  {
    name: 'attention that multiplies keys before they have arrived',
    unit: 'attention.cu',
    from: 'copyAsyncWait<1>();  // the keys\n    __syncthreads();',
    to: 'copyAsyncWait<1>();',
  },
  {
    name: 'attention that sees the token after its own',
    unit: 'attention.cu',
    file: 'attention_tiles.cuh',
    from: 'column >= end + down',
    to: 'column > end + down',
  },
  {
    name: 'a running sum that is not brought to the new maximum',
    unit: 'attention.cu',
    from: 'total[half] * correction + sum',
    to: 'total[half] + sum',
  },
  {
    name: 'the gradient of a softmax without its mean',
    unit: 'attention_backward.cu',
    from: 'weights[n][down] * (dScores[n][down] - mean)',
    to: 'weights[n][down] * dScores[n][down]',
  },
  {
    name: 'column sums that are read before they are written',
    unit: 'linear.cu',
    from: 'lane] = sums[i];\n  __syncthreads();',
    to: 'lane] = sums[i];',
  },
  {
    name: 'a thread past the end of its row',
    unit: 'swiglu.cu',
    from: 'if (place.column >= width) return;',
    to: 'if (place.column > width) return;',
  },
  {
    name: 'a gradient without the part of the mean',
    unit: 'layer_norm.cu',
    file: 'norm.cuh',
    from: '- meanE - xh * meanEXh',
    to: '- xh * meanEXh',
  },
  {
    name: 'a running sum of exponentials that keeps its old maximum',
    unit: 'linear_logprob.cu',
    file: 'logprob_panel.cuh',
    from: 'total *= factor;',
    to: '',
  },
  {
    name: 'sums of threads with different maxima that are added as they are',
    unit: 'logprob_gather.cu',
    file: 'logprob_panel.cuh',
    from: 'sum.total * factor',
    to: 'static_cast<double>(sum.total)',
  },
  {
    name: 'a label whose gradient its neighbours overwrite',
    unit: 'logprob_gather.cu',
    from: '__syncthreads();\n    if (threadIdx.x == 0) dLogits[label]',
    to: 'if (threadIdx.x == 0) dLogits[label]',
  },
  {
    name: 'a correction of the label before its softmax is there',
    unit: 'linear_logprob.cu',
    from: 'mapRow(logits, dLogits, count, gradient);\n  __syncthreads();',
    to: 'mapRow(logits, dLogits, count, gradient);',
  },
  {
    name: 'a chunk that ends one element early',
    unit: 'optimizer.cu',
    file: 'tensor_list.cuh',
    from: 'first + kChunk < tensor.count ? first + kChunk : tensor.count',
    to: 'first + kChunk < tensor.count ? first + kChunk - 1 : tensor.count',
  },
  {
    name: 'a rotation the wrong way round',
    unit: 'rotary.cu',
    from: 'y * cosine + x * sine',
    to: 'y * cosine - x * sine',
  },
];

let folder: string;
let expected: Results;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sralign-mutants-'));
  expected = await everyKernel('cuda');
});
afterAll(() => rm(folder, { recursive: true }));

/** What shows the mistake: an error of the run, or numbers that differ; undefined where nothing does. */
async function symptom(library: string): Promise<string | undefined> {
  for (const seed of [1, 2, 3, 4]) {
    try {
      const environment = { SRALIGN_CUDA_LIBRARY: library, SRALIGN_CUDA_HOST_SEED: String(seed) };
      expectSameResults(await everyKernel('cuda', environment), expected);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
  return undefined;
}

test('a change that is no mistake shows nothing', async () => {
  const from = 'y * cosine + x * sine';
  const harmless = { name: 'harmless', unit: 'rotary.cu', from, to: 'x * sine + y * cosine' };
  expect(await symptom(await buildMutant(folder, harmless))).toBeUndefined();
});

describe.concurrent('a mistake shows', () => {
  test.each(mutations)('$name', async mutation => {
    expect(await symptom(await buildMutant(folder, mutation))).toBeDefined();
  });
});
