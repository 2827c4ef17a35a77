/** That the tests of the collectives can fail: each of these mistakes shows under at least one of a few schedules. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findMistakes } from './collectives.js';
import { buildMutant, type Mutation } from './mutant.js';

const unit = 'collectives.cu';
const mutations: readonly Mutation[] = [
  {
    name: 'an operation that does not wait for its inputs',
    unit,
    from: 'check(cudaStreamWaitEvent(stream_.get(), ready_.get()), operation);',
    to: '',
  },
  {
    name: 'an operation that waits for its own stream instead',
    unit,
    from: 'check(cudaEventRecord(ready_.get(), context_.stream()), operation);',
    to: 'check(cudaEventRecord(ready_.get(), stream_.get()), operation);',
  },
  {
    name: 'a wait that lets the compute stream go on',
    unit,
    from: 'check(cudaStreamWaitEvent(context_.stream(), pending_.front().done.get()),',
    to: 'check(cudaSuccess,',
  },
  {
    name: 'an end that is recorded before the operation',
    unit,
    from: 'succeed(launch(), operation);\n    Event done = takeEvent();\n    check(cudaEventRecord(done.get(), stream_.get()), operation);',
    to: 'Event done = takeEvent();\n    check(cudaEventRecord(done.get(), stream_.get()), operation);\n    succeed(launch(), operation);',
  },
  {
    name: 'an event that is used again before it was waited for',
    unit,
    from: 'check(cudaEventRecord(done.get(), stream_.get()), operation);',
    to: 'check(cudaEventRecord(done.get(), stream_.get()), operation);\n    std::swap(ready_, done);',
  },
  {
    name: 'a wait for an operation taken for one for those behind it',
    unit,
    from: 'retireFirst();\n  }\n\n  // CUDA tells',
    to: 'while (!pending_.empty()) retireFirst();\n  }\n\n  // CUDA tells',
  },
  {
    name: 'a wait for one operation too early',
    unit,
    from: 'while (pending_.front().ticket < ticket) retireFirst();',
    to: 'while (pending_.front().ticket + 1 < ticket) retireFirst();',
  },
  {
    name: 'a reduce-scatter that counts the whole input',
    unit,
    from: 'ncclReduceScatter(input, shard, count,',
    to: 'ncclReduceScatter(input, shard, count * size_,',
  },
];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sralign-mutants-'));
});
afterAll(() => rm(folder, { recursive: true }));

test.each(mutations)('$name', async mutation => {
  const library = await buildMutant(folder, mutation);
  const seen: string[] = [];
  for (let seed = 1; seen.length === 0 && seed <= 4; seed++) {
    const environment = { SRALIGN_CUDA_LIBRARY: library, SRALIGN_CUDA_HOST_SEED: String(seed) };
    seen.push(...(await findMistakes(2, environment)));
  }
  expect(seen).not.toEqual([]);
});
