// Builds the CUDA backend, build/Release/libsralign_cuda.so. A machine needs the CUDA toolkit for it but no GPU.
//
//   npm run build:cuda -- [--python PYTHON]
//
// With --python (or SRALIGN_CUDA_PYTHON) cuBLASLt and NCCL come from the NVIDIA wheels of that Python environment.
// SRALIGN_CUDA_ARCHITECTURES chooses the GPUs, such as "90" (CMakeLists.txt has the default).
// Exit status: 2 where something that it needs is not installed, 1 for every other failure.
//
// It calls CMake itself, not cmake-js: the library knows nothing of Node, and what cmake-js adds to CMake are Node's
// headers and flags.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CudaSetupError, findCublasLt, findNccl, findProgram, findToolkit } from './cuda.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const build = path.join(root, 'build', 'cuda');

function fail(message, status = 1) {
  process.stderr.write(`${message}\n`);
  process.exit(status);
}

function readArguments() {
  try {
    return parseArgs({ options: { python: { type: 'string' } } }).values;
  } catch (error) {
    fail(`${error.message}\nUsage: npm run build:cuda -- [--python PYTHON]`);
  }
}

function findTools(python) {
  try {
    const cmake = findProgram('cmake');
    if (cmake === undefined) {
      throw new CudaSetupError('CMake is missing. Install it: apt-get install cmake ninja-build');
    }
    const toolkit = findToolkit();
    return { cmake, toolkit, cublasLt: findCublasLt(toolkit, python), nccl: findNccl(toolkit, python) };
  } catch (error) {
    if (!(error instanceof CudaSetupError)) throw error;
    fail(error.message, 2);
  }
}

/** Paths mean those of the shell: npm runs a workspace's script in the folder of the workspace. */
function fromShell(program) {
  return program?.includes(path.sep) ? path.resolve(process.env.INIT_CWD ?? '.', program) : program;
}

const python = fromShell(readArguments().python ?? process.env.SRALIGN_CUDA_PYTHON);
const architectures = process.env.SRALIGN_CUDA_ARCHITECTURES;
const { cmake, toolkit, cublasLt, nccl } = findTools(python);
const [major, minor] = toolkit.version;
// The first nvcc that knows the newest GPU of the default (sm_100).
if (architectures === undefined && (major < 12 || (major === 12 && minor < 8))) {
  fail(
    `CUDA 12.8 or later is needed for the default GPUs, and ${toolkit.nvcc} is ${major}.${minor}. Choose older ones: ` +
      'SRALIGN_CUDA_ARCHITECTURES="80-real;90" npm run build:cuda',
  );
}

// The generator of a build folder can't be changed.
const hasNinja = findProgram('ninja') !== undefined && !existsSync(path.join(build, 'CMakeCache.txt'));
const configured = spawnSync(
  cmake,
  [
    ...['-S', root, '-B', build, ...(hasNinja ? ['-G', 'Ninja'] : [])],
    `-DCMAKE_CUDA_COMPILER=${toolkit.nvcc}`,
    `-DCUBLASLT_INCLUDE=${cublasLt.include}`,
    `-DCUBLASLT_LIBRARY=${cublasLt.library}`,
    `-DNCCL_INCLUDE=${nccl.include}`,
    `-DNCCL_LIBRARY=${nccl.library}`,
    `-DNODE=${process.execPath}`,
    ...(architectures === undefined
      ? ['-USRALIGN_CUDA_ARCHITECTURES']
      : [`-DSRALIGN_CUDA_ARCHITECTURES=${architectures}`]),
  ],
  { encoding: 'utf8' },
);
if (configured.status !== 0) {
  fail(
    `${configured.stdout ?? ''}${configured.stderr ?? ''}\nCMake could not prepare the build; the reason is above.`,
  );
}

const jobs = String(availableParallelism());
const built = spawnSync(cmake, ['--build', build, '--parallel', jobs], { stdio: 'inherit' });
if (built.status !== 0) fail('The CUDA backend did not build; the reason is above.');
process.stdout.write(
  `Built ${path.join(root, 'build', 'Release', 'libsralign_cuda.so')} with CUDA ${major}.${minor} ` +
    `(${toolkit.root}), ${cublasLt.library} and ${nccl.library}\n`,
);
