import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { cpuInfo } from '../lib/index.js';

const addon = fileURLToPath(new URL('../build/Release/sralign_native.node', import.meta.url));

/** Runs a program in a Node of its own, with `native` loaded, and gives back what it prints as JSON. */
function inOwnProcess(program: string, env: Record<string, string> = {}): unknown {
  const script = `const native = require(${JSON.stringify(addon)}); console.log(JSON.stringify((() => {${program}})()));`;
  const options = { env: { ...process.env, ...env }, encoding: 'utf8' } as const;
  return JSON.parse(execFileSync(process.execPath, ['-e', script], options));
}

test('cpuInfo describes the machine', () => {
  const info = cpuInfo();
  expect(info.oneDnnVersion).toMatch(/^\d+\.\d+\.\d+$/);
  expect(info.cores).toBeGreaterThanOrEqual(1);
  expect(['portable', 'avx2', 'avx512']).toContain(info.kernels);
  expect(
    info.kernels === 'portable' || info.instructionSets.includes(info.kernels.replace('512', '512f')),
  ).toBe(true);
});

const best = cpuInfo().kernels;
const order = ['portable', 'avx2', 'avx512'];
const available = order.slice(0, order.indexOf(best) + 1);

test.each(available)('SRALIGN_CPU_KERNELS=%s asks for these kernels and keeps oneDNN to the same', name => {
  const { kernels, oneDnnIsa, nativeBf16 } = inOwnProcess('return native.cpuInfo()', {
    SRALIGN_CPU_KERNELS: name,
  }) as ReturnType<typeof cpuInfo>;
  const oneDnn = { portable: 'sse41', avx2: 'avx2', avx512: 'avx512_core' }[name];
  // Only x86 has variants; oneDNN knows no limit elsewhere.
  const limited = process.arch === 'x64' ? { oneDnnIsa, nativeBf16 } : {};
  expect({ kernels, ...limited }).toEqual(
    process.arch === 'x64' ? { kernels: name, oneDnnIsa: oneDnn, nativeBf16: false } : { kernels: name },
  );
});

test.each(['sse9', 'AVX2'])('unknown kernels %s are refused by name', name => {
  const result = spawnSync(process.execPath, ['-e', `require(${JSON.stringify(addon)})`], {
    env: { ...process.env, SRALIGN_CPU_KERNELS: name },
    encoding: 'utf8',
  });
  expect(result.status).toBe(1);
  expect(result.stderr).toContain(`SRALIGN_CPU_KERNELS=${name}`);
});

test('every kernel this processor runs gives the same elementwise results', () => {
  const program = `
    const values = Float32Array.from({ length: 1003 }, (_, i) => Math.sin(i) * 3);
    const make = dtype => native.create(dtype, 1, 1003);
    const [x, half, out] = [make(0), make(1), make(0)];
    native.write(x, 0, new Uint8Array(values.buffer), -1);
    native.cast(x, half);
    native.add(x, half, out);
    const result = new Float32Array(1003);
    native.read(out, new Uint8Array(result.buffer));
    const norm = native.create(0, 1, 1);
    native.l2Norm(Float64Array.of(out), norm);
    const total = new Float32Array(1);
    native.read(norm, new Uint8Array(total.buffer));
    return { kernels: native.cpuInfo().kernels, norm: total[0], values: [...result] };`;
  const results = available.map(
    name => inOwnProcess(program, { SRALIGN_CPU_KERNELS: name }) as Record<string, unknown>,
  );
  results.forEach((result, index) => {
    expect(result.kernels).toBe(available[index]);
    expect(result.values).toEqual(results[0]!.values);
    expect(result.norm).toBe(results[0]!.norm);
  });
});

test('a process that ends with tensors alive ends well', () => {
  expect(inOwnProcess('for (let i = 0; i < 100; i++) native.create(0, 2, 1000, i + 1); return "ok"')).toBe(
    'ok',
  );
});
