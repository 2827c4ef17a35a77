// Where the CUDA toolkit and cuBLASLt are, and how to get them where they are not.
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

/** The folder in which the NVIDIA wheels of a Python environment put the parts of the toolkit, as a list. */
function wheelRoots(python, [major]) {
  const program =
    'import importlib.util as u; s = u.find_spec("nvidia"); print(*(s.submodule_search_locations if s else []), sep="\\n")';
  const result = spawnSync(python, ['-c', program], { encoding: 'utf8' });
  if (result.status !== 0) {
    throw new CudaSetupError(`"${python}" is no Python that runs: ${result.error?.message ?? result.stderr}`);
  }
  return result.stdout
    .split('\n')
    .filter(Boolean)
    .map(folder => path.join(folder, `cu${major}`));
}

function findIn(root) {
  const target = `targets/${process.arch === 'arm64' ? 'sbsa' : 'x86_64'}-linux`;
  const include = ['include', `${target}/include`]
    .map(folder => path.join(root, folder))
    .find(folder => existsSync(path.join(folder, 'cublasLt.h')));
  const library = ['lib64', 'lib', `${target}/lib`]
    .map(folder => path.join(root, folder))
    .filter(existsSync)
    // The Python wheels have only the versioned name.
    .flatMap(folder => readdirSync(folder).map(name => path.join(folder, name)))
    .find(file => /^libcublasLt\.so(\.\d+)?$/.test(path.basename(file)));
  return include !== undefined && library !== undefined ? { include, library } : undefined;
}

/**
 * `{ include, library }` of cuBLASLt: from the wheels of the Python at `python` where it is given, else from CUDA_HOME,
 * CUDA_PATH or the toolkit.
 */
export function findCublasLt(toolkit, python) {
  const roots =
    python === undefined ? [...environmentRoots, toolkit.root] : wheelRoots(python, toolkit.version);
  const found = roots.map(findIn).find(result => result !== undefined);
  if (found !== undefined) return found;

  const [major, minor] = toolkit.version;
  const wheel = `"nvidia-cublas==${major}.*"`;
  const missing = `cuBLASLt is missing (include/cublasLt.h and lib/libcublasLt.so)`;
  if (python !== undefined) {
    throw new CudaSetupError(
      `${missing} in the Python environment of ${python}. Install it: ${python} -m pip install ${wheel}`,
    );
  }
  throw new CudaSetupError(
    `${missing} in ${roots.join(', ')}. Install it, on Debian and Ubuntu from NVIDIA's package repository: ` +
      `apt-get install libcublas-dev-${major}-${minor}\n` +
      `Or take that of a Python environment that has it (PyTorch brings it, and so does pip install ${wheel}): ` +
      'npm run build:cuda -- --python python3',
  );
}
