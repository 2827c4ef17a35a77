// Runs the GPU suite where a GPU is, and says loudly where none is: on-gpu.mjs test | bench
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { cudaInfo } from '@sralign/native';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const node = process.execPath;
const vitest = path.join(root, 'node_modules', 'vitest', 'vitest.mjs');
const everyKernel = path.join(root, 'native', 'test', 'every-kernel.mjs');

/**
 * The tests of the operations and of whole training steps, then every kernel under each of NVIDIA's checkers. Few test
 * files at a time: each process takes about half a gigabyte of the GPU for itself.
 */
const TESTS = [
  [node, vitest, 'run', '--project', 'cuda', '--maxWorkers=4'],
  ...['memcheck', 'racecheck', 'initcheck', 'synccheck'].map(tool => [
    ...['compute-sanitizer', '--tool', tool, '--error-exitcode', '1'],
    ...[node, everyKernel, 'cuda'],
  ]),
];
const bench = (name, ...args) => [
  node,
  path.join(root, 'bench', 'dist', `${name}.js`),
  '--device',
  'cuda',
  ...args,
];
const BENCHES = ['f32', 'bf16'].flatMap(dtype => [
  bench('kernels', '--dtype', dtype),
  ...['pythia-70m', 'llama-60m'].map(model =>
    bench('step', '--model', model, '--dtype', dtype, '--pairs', '64'),
  ),
]);

const commands = { test: TESTS, bench: BENCHES }[process.argv[2]];
if (commands === undefined) throw new Error('usage: node scripts/on-gpu.mjs test|bench');

const { devices, reason } = cudaInfo();
if (devices.length === 0) {
  process.stdout.write(`SKIPPED: nothing was run on a GPU, because there is none to use: ${reason}\n`);
  process.exit(0);
}
process.stdout.write(`On ${devices[0].name}, compute capability ${devices[0].computeCapability}\n`);

let failed = 0;
for (const [command, ...args] of commands) {
  process.stdout.write(
    `\n=== ${[command, ...args].map(part => path.relative(root, part) || part).join(' ')}\n`,
  );
  const { error, status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (error?.code === 'ENOENT') process.stdout.write(`SKIPPED: ${command} is not installed\n`);
  else if (status !== 0) failed++;
}
process.stdout.write(`${commands.length - failed} passed or skipped, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
