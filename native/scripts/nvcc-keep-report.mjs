// Runs nvcc as CMake's compiler launcher, and keeps beside FILE.o, as FILE.o.ptxas, what ptxas says of every kernel
// (registers, shared memory, stack, spills) and the launch bounds from the PTX. Everything else nvcc says passes through.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const [nvcc, ...args] = process.argv.slice(2);
const object = args[args.indexOf('-o') + 1];
const report = `${object}.ptxas`;
const intermediate = `${object}.keep`;

rmSync(report, { force: true });
mkdirSync(intermediate, { recursive: true });
const result = spawnSync(nvcc, ['-Xptxas', '-v', '--keep', '--keep-dir', intermediate, ...args], {
  encoding: 'utf8',
  maxBuffer: 1 << 28,
});
if (result.error !== undefined) process.stderr.write(`${nvcc} does not start: ${result.error.message}\n`);
process.stdout.write(result.stdout ?? '');

const isReport = line => /^ptxas info|bytes stack frame/.test(line);
const lines = (result.stderr ?? '').split('\n');
process.stderr.write(lines.filter(line => !isReport(line)).join('\n'));

if (result.status === 0) {
  const bounds = readdirSync(intermediate)
    .filter(file => file.endsWith('.ptx'))
    .flatMap(file => readFileSync(path.join(intermediate, file), 'utf8').split('\n'))
    .filter(line => /\.entry|\.maxntid/.test(line));
  writeFileSync(report, [...lines.filter(isReport), ...bounds, ''].join('\n'));
}
rmSync(intermediate, { recursive: true, force: true });
process.exit(result.status ?? 1);
