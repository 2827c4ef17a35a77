// Runs what every table of kernels must do (the project `kernels` of vitest.config.ts) with each that this processor has
// and `npm test` has not used: those of older processors, and AVX-512 without bf16 instructions. Arguments go to vitest.
// With --list only their names are printed.
import { spawnSync } from 'node:child_process';
import { cpuInfo } from '@sralign/native';

const { kernels, nativeBf16 } = cpuInfo();
const tables = ['portable', 'avx2', 'avx512'];
const used = nativeBf16 ? tables.length : tables.indexOf(kernels);
const others = tables.slice(0, used);

const args = process.argv.slice(2);
if (args.includes('--list')) {
  console.log(others.join(' '));
} else {
  for (const name of others) {
    console.log(`=== SRALIGN_CPU_KERNELS=${name}`);
    const { status } = spawnSync('npx', ['vitest', 'run', '--project', 'kernels', ...args], {
      stdio: 'inherit',
      env: { ...process.env, SRALIGN_CPU_KERNELS: name },
    });
    if (status !== 0) process.exitCode = 1;
  }
}
