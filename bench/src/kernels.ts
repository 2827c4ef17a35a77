/**
 * Times every operation of the engine against its floor: the bytes it must move over the memory bandwidth, or the FLOPs
 * it must do over the matrix-product peak, both measured in this run. Then the fused output matrix + log-prob against
 * the same from whole logits.
 *
 *   npm run bench:kernels -- [--dtype f32|bf16] [--threads 2] [--only PART_OF_A_NAME] [--json]
 */
import { parseArgs } from 'node:util';
import { cpuInfo, type DType, Scope, setThreads } from '@sralign/native';
import { Bench } from 'tinybench';
import { kernelCases } from './cases.js';
import { matmulFlops, memoryBandwidth } from './ceilings.js';
import { addedBytes, logprobPaths, ROWS, VOCABULARIES } from './fused.js';

const { values } = parseArgs({
  options: {
    dtype: { type: 'string', default: 'f32' },
    threads: { type: 'string', default: '2' },
    only: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
  },
});
const { dtype } = values;
if (dtype !== 'f32' && dtype !== 'bf16') throw new Error('--dtype must be f32 or bf16.');
setThreads(Number(values.threads));

const cpu = cpuInfo();
const ceilings = { matmulFlops: matmulFlops(dtype), memoryBytesPerSecond: memoryBandwidth() };
const kernels = await timeKernels(dtype);
const fused = 'fused log-prob'.includes(values.only) ? await timeFused(dtype) : [];
const { model, kernels: instructionSet, oneDnnVersion } = cpu;
const report = {
  machine: { model, kernels: instructionSet, nativeBf16: cpu.nativeBf16, oneDnn: oneDnnVersion },
  dtype,
  threads: Number(values.threads),
  ceilings,
  kernels,
  fused,
};
if (values.json) {
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
} else {
  const { matmulFlops: flops, memoryBytesPerSecond: bandwidth } = ceilings;
  process.stdout.write(
    `${model}, ${instructionSet}, ${dtype}, ${values.threads} threads: ` +
      `${(flops / 1e9).toFixed(0)} GFLOP/s, ${(bandwidth / 1e9).toFixed(1)} GB/s\n\n`,
  );
  print(['operation', 'size', 'bound', 'ms', 'floor ms', 'ms / floor'], kernels.map(Object.values));
  print(['log-prob path', 'vocabulary', 'ms', 'ms / unfused', 'memory MB'], fused.map(Object.values));
}

async function timeKernels(type: DType) {
  using _scope = new Scope();
  const rows = [];
  for (const { name, shape, bytes, flops, run } of kernelCases(type)) {
    if (!name.includes(values.only)) continue;
    const [memoryMs, matmulMs] = [
      (1000 * bytes) / ceilings.memoryBytesPerSecond,
      (1000 * flops) / ceilings.matmulFlops,
    ];
    const floorMs = Math.max(memoryMs, matmulMs);
    const ms = await medianMs(run);
    const bound = memoryMs > matmulMs ? 'memory' : 'matmul';
    rows.push({
      name,
      shape,
      bound,
      ms: rounded(ms),
      floorMs: rounded(floorMs),
      overFloor: rounded(ms / floorMs),
    });
  }
  return rows;
}

async function timeFused(type: DType) {
  const rows = [];
  for (const vocabulary of VOCABULARIES) {
    using _scope = new Scope();
    let unfusedMs = 0;
    for (const { name, run } of logprobPaths(vocabulary, type)) {
      const ms = await medianMs(run);
      if (name === 'unfused') unfusedMs = ms;
      rows.push({
        name: `${name}, ${ROWS} rows`,
        vocabulary,
        ms: rounded(ms),
        overUnfused: rounded(ms / unfusedMs),
        megabytes: rounded(addedBytes(run) / 1e6),
      });
    }
  }
  return rows;
}

/** Median of at least five runs and a quarter of a second, after a warm-up. */
async function medianMs(run: () => void): Promise<number> {
  const bench = new Bench({ time: 250, iterations: 5, warmupTime: 50, warmupIterations: 1 });
  bench.add('run', run);
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
