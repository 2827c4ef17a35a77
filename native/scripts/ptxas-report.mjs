// Prints what every kernel takes of a multiprocessor, and fails where one needs memory in place of registers (a stack
// frame or spills).
//
//   node native/scripts/ptxas-report.mjs
//
// The numbers are those of the build where it is newer than the sources; any other file is compiled here for them.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CudaSetupError, findCublasLt, findNccl, findProgram, findToolkit } from './cuda.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const sources = path.join(root, 'src', 'cuda');
const objects = path.join(root, 'build', 'cuda', 'CMakeFiles', 'sralign_cuda.dir', 'src', 'cuda');
const launcher = path.join(root, 'scripts', 'nvcc-keep-report.mjs');
const architectures = ['80', '90', '100'];

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

// ---- the text of ptxas ------------------------------------------------------------------------------------------

const newestSource = Math.max(
  ...[sources, path.join(root, 'src', 'core')].flatMap(folder =>
    readdirSync(folder).map(name => statSync(path.join(folder, name)).mtimeMs),
  ),
);

function reportOfBuild(file) {
  const report = path.join(objects, `${file}.o.ptxas`);
  return existsSync(report) && statSync(report).mtimeMs >= newestSource
    ? readFileSync(report, 'utf8')
    : undefined;
}

/** The folder of headers that a file needs beside the toolkit's own; the files have no kernels of their own. */
const neededIncludes = { 'matmul.cu': findCublasLt, 'collectives.cu': findNccl };

function compile(file, toolkit, include, folder) {
  const object = path.join(folder, `${file}.o`);
  const options = [
    ...['-std=c++20', '-O3', '-c', path.join(sources, file), '-o', object],
    ...architectures.flatMap(name => ['-gencode', `arch=compute_${name},code=sm_${name}`]),
    // The compiler looks there last, and must not look there first.
    ...(include === undefined || include === '/usr/include' ? [] : ['-isystem', include]),
  ];
  const result = spawnSync(process.execPath, [launcher, toolkit.nvcc, ...options], { encoding: 'utf8' });
  if (result.status !== 0)
    fail(`${result.stdout}${result.stderr}\n${file} did not compile; the reason is above.`);
  return readFileSync(`${object}.ptxas`, 'utf8');
}

/** `[file, text]` of every source that can be compiled here. */
function reports() {
  const files = readdirSync(sources).filter(name => name.endsWith('.cu'));
  const built = files.map(file => [file, reportOfBuild(file)]);
  if (built.every(([, text]) => text !== undefined)) return built;

  const toolkit = findToolkit();
  const folder = mkdtempSync(path.join(tmpdir(), 'sralign-ptxas-'));
  const report = ([file, text]) => {
    if (text !== undefined) return [[file, text]];
    try {
      const include = neededIncludes[file]?.(toolkit, process.env.SRALIGN_CUDA_PYTHON).include;
      return [[file, compile(file, toolkit, include, folder)]];
    } catch (error) {
      if (!(error instanceof CudaSetupError)) throw error;
      process.stdout.write(`${file}, which has no kernels of its own, is left out: ${error.message}\n\n`);
      return [];
    }
  };
  try {
    return built.flatMap(report);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One entry per kernel and GPU. */
function parse(file, text) {
  const bounds = new Map();
  let entry;
  for (const line of text.split('\n')) {
    entry = /\.entry (\w+)/.exec(line)?.[1] ?? entry;
    const threads = /\.maxntid (\d+)(?:, *(\d+))?(?:, *(\d+))?/
      .exec(line)
      ?.slice(1)
      .map(n => Number(n ?? 1));
    if (threads !== undefined) bounds.set(entry, threads[0] * threads[1] * threads[2]);
  }
  return text
    .split(/^(?=ptxas info +: Compiling entry function)/m)
    .filter(block => block.startsWith('ptxas info') && block.includes('Compiling entry function'))
    .map(block => {
      const [, symbol, gpu] = /Compiling entry function '(\w+)' for '(\w+)'/.exec(block);
      // A kernel and the functions it calls: the largest of each number.
      const largest = pattern => Math.max(0, ...[...block.matchAll(pattern)].map(match => Number(match[1])));
      return {
        file,
        symbol,
        gpu,
        registers: largest(/Used (\d+) registers/g),
        shared: largest(/(\d+) bytes smem/g),
        stack: largest(/(\d+) bytes stack frame/g),
        spillStores: largest(/(\d+) bytes spill stores/g),
        spillLoads: largest(/(\d+) bytes spill loads/g),
        threads: bounds.get(symbol),
      };
    });
}

// ---- the table --------------------------------------------------------------------------------------------------

/** The share of the threads of a multiprocessor that its registers allow: blocks come whole, warps take 256 at a time. */
function occupancy({ registers, threads }) {
  const registersPerMultiprocessor = 65536;
  const threadsPerMultiprocessor = 2048;
  const warpsPerBlock = Math.ceil(threads / 32);
  const perWarp = Math.ceil((registers * 32) / 256) * 256;
  const warps = Math.floor(registersPerMultiprocessor / perWarp / 4) * 4; // a quarter of them for each of 4 schedulers
  const blocks = Math.min(
    Math.floor(warps / warpsPerBlock),
    Math.floor(threadsPerMultiprocessor / threads),
    32,
  );
  return (blocks * warpsPerBlock * 32) / threadsPerMultiprocessor;
}

function demangle(symbols, toolkitBin) {
  const program = findProgram('cu++filt', toolkitBin) ?? findProgram('c++filt');
  if (program === undefined) return symbols;
  const result = spawnSync(program, { input: `${symbols.join('\n')}\n`, encoding: 'utf8' });
  return result.stdout.trimEnd().split('\n');
}

/** `gelu<float>` of `void sralign::cuda::(anonymous namespace)::gelu<float>(float const*, ...)`. */
function shortName(name) {
  return name
    .replaceAll(/\(anonymous namespace\)::|<unnamed>::|_GLOBAL__N__\w+::|sralign::cuda::/g, '')
    .replace(/^void /, '')
    .replace(/\(.*$/, '');
}

function print(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map(row => row[column].length)));
  for (const row of rows) {
    const cells = row.map((cell, column) =>
      column < 3 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]),
    );
    process.stdout.write(`${cells.join('  ')}\n`);
  }
}

const kernels = reports()
  .flatMap(([file, text]) => parse(file, text))
  .sort((a, b) => a.file.localeCompare(b.file));
const toolkitBin = [process.env.CUDA_HOME, process.env.CUDA_PATH]
  .filter(Boolean)
  .map(home => path.join(home, 'bin'));
const names = demangle(
  kernels.map(kernel => kernel.symbol),
  toolkitBin,
);
const header = [
  'file',
  'kernel',
  'GPU',
  'registers',
  'shared',
  'stack',
  'spill st/ld',
  'threads',
  'occupancy',
];
print([
  header,
  ...kernels.map((kernel, i) => [
    kernel.file,
    shortName(names[i]),
    kernel.gpu,
    String(kernel.registers),
    String(kernel.shared),
    String(kernel.stack),
    `${kernel.spillStores}/${kernel.spillLoads}`,
    kernel.threads === undefined ? '-' : String(kernel.threads),
    kernel.threads === undefined ? '-' : `${Math.round(occupancy(kernel) * 100)} %`,
  ]),
]);

const outside = kernels.filter(kernel => kernel.stack > 0 || kernel.spillStores > 0 || kernel.spillLoads > 0);
process.stdout.write(
  `\n${kernels.length} kernels, ${outside.length} with a stack frame or spills. "shared" is static shared memory in bytes; ` +
    '"threads" the largest block by the launch bounds; "occupancy" what the registers allow.\n',
);
if (kernels.length === 0) fail('No kernel was found.');
process.exit(outside.length > 0 ? 1 : 0);
