// Where the CUDA toolkit, cuBLASLt and NCCL are, and how to get them where they are not.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, realpathSync } from 'node:fs';
import path from 'node:path';

/** Something is missing; the message says what, and the command that brings it. */
export class CudaSetupError extends Error {}

/** The path of a program, or undefined. `folders` are searched before those of PATH. */
export function findProgram(name, folders = []) {
  const candidates = [...folders, ...(process.env.PATH ?? '').split(path.delimiter)];
  return candidates
    .filter(folder => folder !== '')
    .map(folder => path.join(folder, name))
    .find(file => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

const environmentRoots = [process.env.CUDA_HOME, process.env.CUDA_PATH].filter(Boolean);

/**
 * The toolkit of CUDA_HOME, CUDA_PATH or PATH, in this order: `{ root, nvcc, version: [major, minor] }`. What is called
 * nvcc on PATH may be a script or a link, so nvcc itself is asked where it lies.
 */
export function findToolkit() {
  const nvcc = findProgram(
    'nvcc',
    environmentRoots.map(root => path.join(root, 'bin')),
  );
  if (nvcc === undefined) {
    throw new CudaSetupError(
      'nvcc of the CUDA toolkit is missing in CUDA_HOME, CUDA_PATH and PATH. Install it, on Debian and Ubuntu from ' +
        "NVIDIA's package repository: apt-get install cuda-toolkit-13-0",
    );
  }
  const ask = (...args) => {
    const result = spawnSync(nvcc, args, { encoding: 'utf8' });
    return `${result.stdout ?? ''}${result.stderr ?? ''}`;
  };
  const answer = ask('--dryrun', '-x', 'cu', '-c', '/dev/null');
  const top = /^#\$ TOP=(.+)$/m.exec(answer)?.[1];
  const version = /release (\d+)\.(\d+)/.exec(ask('--version'))?.slice(1).map(Number);
  if (top === undefined || version === undefined) {
    throw new CudaSetupError(`${nvcc} does not work; it says:\n${answer}`);
  }
  const root = realpathSync(top);
  return { root, nvcc: findProgram('nvcc', [path.join(root, 'bin')]), version };
}

/** The folders in which the NVIDIA wheels of a Python environment put part `name` of the toolkit. */
function wheelRoots(python, name) {
  const program =
    'import importlib.util as u; s = u.find_spec("nvidia"); print(*(s.submodule_search_locations if s else []), sep="\\n")';
  const result = spawnSync(python, ['-c', program], { encoding: 'utf8' });
  if (result.status !== 0) {
    throw new CudaSetupError(`"${python}" is no Python that runs: ${result.error?.message ?? result.stderr}`);
  }
  return result.stdout
    .split('\n')
    .filter(Boolean)
    .map(folder => path.join(folder, name));
}

/** `{ include, library }` of `include/NAME.h` and `lib/libNAME.so` in the first of the folders that has both. */
function findPart(roots, name) {
  const [target, system] =
    process.arch === 'arm64'
      ? ['targets/sbsa-linux', 'lib/aarch64-linux-gnu']
      : ['targets/x86_64-linux', 'lib/x86_64-linux-gnu'];
  // The Python wheels have only the versioned name.
  const isLibrary = file => new RegExp(`^lib${name}\\.so(\\.\\d+)?$`).test(path.basename(file));
  const findIn = root => {
    const include = ['include', `${target}/include`]
      .map(folder => path.join(root, folder))
      .find(folder => existsSync(path.join(folder, `${name}.h`)));
    const library = ['lib64', 'lib', `${target}/lib`, system]
      .map(folder => path.join(root, folder))
      .filter(existsSync)
      .flatMap(folder => readdirSync(folder).map(file => path.join(folder, file)))
      .find(isLibrary);
    return include !== undefined && library !== undefined ? { include, library } : undefined;
  };
  return roots.map(findIn).find(result => result !== undefined);
}

/** Says what of `roots` or of a Python environment is missing, and how it is installed there. */
function missingPart({ part, name, roots, python, packages, wheel }) {
  const missing = `${part} is missing (include/${name}.h and lib/lib${name}.so)`;
  if (python !== undefined) {
    return new CudaSetupError(
      `${missing} in the Python environment of ${python}. Install it: ${python} -m pip install ${wheel}`,
    );
  }
  return new CudaSetupError(
    `${missing} in ${roots.join(', ')}. Install it, on Debian and Ubuntu from NVIDIA's package repository: ` +
      `apt-get install ${packages}\n` +
      `Or take that of a Python environment that has it (PyTorch brings it, and so does pip install ${wheel}): ` +
      'npm run build:cuda -- --python python3',
  );
}

/**
 * `{ include, library }` of cuBLASLt: from the wheels of the Python at `python` where it is given, else from CUDA_HOME,
 * CUDA_PATH or the toolkit.
 */
export function findCublasLt(toolkit, python) {
  const [major, minor] = toolkit.version;
  const roots = python === undefined ? [...environmentRoots, toolkit.root] : wheelRoots(python, `cu${major}`);
  const found = findPart(roots, 'cublasLt');
  if (found !== undefined) return found;
  const packages = `libcublas-dev-${major}-${minor}`;
  const wheel = `"nvidia-cublas==${major}.*"`;
  throw missingPart({ part: 'cuBLASLt', name: 'cublasLt', roots, python, packages, wheel });
}

/** The same of NCCL, which the packages of distributions put under /usr. */
export function findNccl(toolkit, python) {
  const roots =
    python === undefined ? [...environmentRoots, toolkit.root, '/usr'] : wheelRoots(python, 'nccl');
  const found = findPart(roots, 'nccl');
  if (found !== undefined) return found;
  const wheel = `nvidia-nccl-cu${toolkit.version[0]}`;
  throw missingPart({ part: 'NCCL', name: 'nccl', roots, python, packages: 'libnccl-dev libnccl2', wheel });
}
