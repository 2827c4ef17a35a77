/**
 * Times every operation of the engine against its floor: the bytes it must move over the memory bandwidth, or the FLOPs
 * it must do over the matrix-product peak, measured before and after each of them. Then the fused output matrix +
 * log-prob against the same from whole logits, in alternation.
 *
 *   npm run bench:kernels -- [--dtype f32|bf16] [--device cpu|cuda|cuda:N] [--threads 2] [--only PART_OF_A_NAME]
 *                            [--json]
 */
import { parseArgs } from 'node:util';
import { type DType, memory, Scope, setThreads, synchronize, useDevice } from '@sralign/native';
import { Bench } from 'tinybench';
import { type KernelCase, kernelCases } from './cases.js';
import { matmulFlops, memoryBandwidth } from './ceilings.js';
import { logprobPaths, memoryOf, ROWS, VOCABULARIES } from './fused.js';
import { machine, parseDevice } from './machine.js';

const FUSED_ROUNDS = 5;

const { values } = parseArgs({
  options: {
    dtype: { type: 'string', default: 'f32' },
    device: { type: 'string', default: 'cpu' },
    threads: { type: 'string', default: '2' },
    only: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
  },
});
const { dtype } = values;
if (dtype !== 'f32' && dtype !== 'bf16') throw new Error('--dtype must be f32 or bf16.');
useDevice(parseDevice(values.device));
setThreads(Number(values.threads));

const fused = 'fused log-prob'.includes(values.only) ? timeFused(dtype) : [];
const { workspaceBytes } = memory();
const kernels = await timeKernels(dtype);
const report = {
  machine: machine(),
  dtype,
  threads: Number(values.threads),
  kernels,
  fused,
  workspaceBytes,
};
if (values.json) {
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
} else {
  process.stdout.write(
    `${Object.values(report.machine).join(', ')}; ${dtype}, ${values.threads} threads\n\n`,
  );
  print(
    ['operation', 'size', 'dtype', 'ceiling', 'ms', 'floor ms', 'ms / floor'],
    kernels.map(Object.values),
  );
  print(
    ['log-prob path', 'vocabulary', 'ms', 'ms / unfused', 'tensors MB', 'largest MB'],
    fused.map(Object.values),
  );
  if (fused.length > 0)
    process.stdout.write(`Working memory that the operations keep: ${rounded(workspaceBytes / 1e6)} MB\n`);
}

async function timeKernels(type: DType) {
  using _scope = new Scope();
  const rows = [];
  for (const { name, shape, dtypes, floor, run } of kernelCases(type)) {
    if (!name.includes(values.only)) continue;
    const before = ceiling(floor, type);
    const ms = await medianMs(run);
    const perSecond = Math.max(before, ceiling(floor, type));
    const floorMs = (1000 * ('flops' in floor ? floor.flops : floor.bytes)) / perSecond;
    rows.push({
      name,
      shape,
      dtypes,
      ceiling: `${rounded(perSecond / 1e9)} ${'flops' in floor ? 'GFLOP/s' : 'GB/s'}`,
      ms: rounded(ms),
      floorMs: rounded(floorMs),
      overFloor: rounded(ms / floorMs),
    });
  }
  return rows;
}

/** Per second, as this machine reaches it now. */
function ceiling(floor: KernelCase['floor'], type: DType): number {
  return 'flops' in floor ? matmulFlops(type) : memoryBandwidth();
}

/** The paths take turns; the first round warms up and shows the memory. */
function timeFused(type: DType) {
  return VOCABULARIES.flatMap(vocabulary => {
    using _scope = new Scope();
    const paths = logprobPaths(vocabulary, type).map(path => ({
      ...path,
      memory: memoryOf(path.run),
      samples: [] as number[],
    }));
    for (let round = 0; round < FUSED_ROUNDS; round++) {
      for (const { run, samples } of paths) {
        const startMs = performance.now();
        run();
        synchronize();
        samples.push(performance.now() - startMs);
      }
    }
    const unfusedMs = median(paths[0]!.samples);
    return paths.map(({ name, samples, memory: { addedBytes, largestBytes } }) => ({
      name: `${name}, ${ROWS} rows`,
      vocabulary,
      ms: rounded(median(samples)),
      overUnfused: rounded(median(samples) / unfusedMs),
      tensorMegabytes: rounded(addedBytes / 1e6),
      largestMegabytes: rounded(largestBytes / 1e6),
    }));
  });
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
}

/** Median of at least five runs and a quarter of a second, after a warm-up. */
async function medianMs(run: () => void): Promise<number> {
  const bench = new Bench({ time: 250, iterations: 5, warmupTime: 50, warmupIterations: 1 });
  bench.add('run', () => {
    run();
    synchronize();
  });
  const [task] = await bench.run();
  const result = task!.result;
  if (!('latency' in result)) throw new Error(`The operation was not timed: ${result.state}.`);
  return result.latency.p50;
}

function print(header: readonly string[], rows: readonly unknown[][]): void {
  if (rows.length === 0) return;
  const lines = [header, ...rows.map(row => row.map(String))];
  const widths = header.map((_, column) => Math.max(...lines.map(line => line[column]!.length)));
  for (const line of lines) {
    process.stdout.write(
      `${line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd()}\n`,
    );
  }
  process.stdout.write('\n');
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
