/**
 * Weak scaling on this machine: the same number of pairs on every rank, 1 to N ranks over MPI. Prints one JSON object.
 *
 *   npm run bench:scaling -- [--model pythia-70m|pythia-14m|llama-60m] [--dtype f32|bf16] [--sharding full|gradients|none]
 *                            [--ranks 1,2,3,4] [--threads 1] [--pairs-per-rank 4] [--steps 5] [--step sr-dpo]
 *
 * `efficiency` is the time of a step of the first of --ranks over that of N ranks. Once ranks x threads exceed the cores, ranks share
 * them and `perCore` tells more: efficiency x ranks x threads / cores.
 */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { machine } from './machine.js';
import type { RankFigures, RankRequest } from './scaling-rank.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'pythia-70m' },
    dtype: { type: 'string', default: 'f32' },
    sharding: { type: 'string', default: 'full' },
    ranks: { type: 'string', default: '1,2,3,4' },
    threads: { type: 'string', default: '1' },
    'pairs-per-rank': { type: 'string', default: '4' },
    steps: { type: 'string', default: '5' },
    step: { type: 'string', default: 'sr-dpo' },
  },
});
const request = {
  model: values.model,
  dtype: values.dtype,
  sharding: values.sharding,
  threads: Number(values.threads),
  pairsPerRank: Number(values['pairs-per-rank']),
  steps: Number(values.steps),
  augmentationTokens: 55,
  kind: values.step,
} as RankRequest;

function run(ranks: number): RankFigures {
  const program = fileURLToPath(new URL('./scaling-rank.js', import.meta.url));
  const launch = ['-np', String(ranks), '--oversubscribe', '--bind-to', 'none', '-q'];
  const rootAllowed = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' };
  const result = spawnSync('mpirun', [...launch, process.execPath, program, JSON.stringify(request)], {
    encoding: 'utf8',
    env: { ...process.env, ...rootAllowed, OMP_NUM_THREADS: String(request.threads) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (result.status !== 0) throw new Error(`mpirun ended with ${result.status ?? result.error?.message}.`);
  return JSON.parse(result.stdout) as RankFigures;
}

const median = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!;

const cores = availableParallelism();
const rows: Record<string, number>[] = [];
for (const ranks of values.ranks.split(',').map(Number)) {
  const figures = run(ranks);
  const stepMs = median(figures.stepMs);
  const first = rows[0]?.stepMs ?? stepMs;
  const used = ranks * request.threads;
  rows.push({
    ranks,
    stepMs: Math.round(stepMs),
    efficiency: first / stepMs,
    perCore: (first / stepMs) * (used > cores ? used / cores : 1),
    waitingMs: Math.round(median(figures.waitingMs)),
    tokensPerSecond: Math.round(median(figures.tokensPerSecond)),
    keptMiB: figures.keptBytes / 2 ** 20,
    peakMiB: figures.peakBytes / 2 ** 20,
  });
}
console.log(JSON.stringify({ ...request, cores, machine: machine(), rows }, null, 2));
