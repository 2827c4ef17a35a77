import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { cpuInfo } from '../lib/index.js';
import { expectClose } from './support.js';

type Results = Record<string, Record<string, number[]>>;

/** Runs the built package (dist/) in a process of its own that asks for one table of kernels. */
function runWith(kernels: string): { kernels: string; results: Results } {
  const script = fileURLToPath(new URL('every-kernel.mjs', import.meta.url));
  const output = execFileSync(process.execPath, [script], {
    env: { ...process.env, SRALIGN_CPU_KERNELS: kernels },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  return JSON.parse(output);
}

const order = ['portable', 'avx2', 'avx512'];
const available = order.slice(1, order.indexOf(cpuInfo().kernels) + 1);

describe.skipIf(available.length === 0)('every instruction set gives the result of the portable one', () => {
  const portable = runWith('portable');
  test.each(available)('%s', kernels => {
    const other = runWith(kernels);
    expect([portable.kernels, other.kernels]).toEqual(['portable', kernels]);
    expect(Object.keys(other.results)).toHaveLength(27);
    for (const [name, tensors] of Object.entries(portable.results)) {
      // sums in another order; in bf16 a result that lies between two numbers may go either way
      const tolerance = name.endsWith('bf16') ? 2 ** -7 : 5e-6;
      for (const [tensor, values] of Object.entries(tensors)) {
        expect(values.some(value => value !== 0)).toBe(true);
        expectClose(other.results[name]![tensor]!, values, tolerance);
      }
    }
  });
});
