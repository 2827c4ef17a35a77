// Builds the MPI library, build/Release/libsralign_mpi.so, where MPI's compiler is on PATH.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from './cuda.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const sources = [
  'communication_thread.cc',
  'library.cc',
  'mpi_collectives.cc',
  'operation.cc',
  'reduction.cc',
].map(name => path.join(root, 'src', 'mpi', name));
const OPTIONS = [
  '-std=c++20',
  '-O3',
  '-fPIC',
  '-shared',
  '-pthread',
  '-fvisibility=hidden',
  '-Wall',
  '-Wextra',
];

/** Of the file and, because package managers keep the times of the files they install, of its inode. */
function changedMs(file) {
  const { mtimeMs, ctimeMs } = statSync(file);
  return Math.max(mtimeMs, ctimeMs);
}

/**
 * What a library is made with, as a text: which MPI (the real path of its compiler, which Debian switches by links), what
 * the compiler would run (Open MPI and MPICH both print it), and the options.
 */
function recipe(compiler) {
  const shown = spawnSync(compiler, ['-show'], { encoding: 'utf8' }).stdout ?? '';
  return JSON.stringify([realpathSync(compiler), shown.trim(), OPTIONS], undefined, 2);
}

function isCurrent(library, recipeFile, compiler) {
  if (!existsSync(library) || !existsSync(recipeFile)) return false;
  if (readFileSync(recipeFile, 'utf8') !== recipe(compiler)) return false;
  const built = statSync(library).mtimeMs;
  const headers = ['mpi', 'comm', 'core'].flatMap(name => {
    const folder = path.join(root, 'src', name);
    return readdirSync(folder).flatMap(file => (file.endsWith('.h') ? [path.join(folder, file)] : []));
  });
  // An update of MPI in its place replaces the compiler, too.
  return [...sources, ...headers, realpathSync(compiler), fileURLToPath(import.meta.url)].every(
    file => changedMs(file) <= built,
  );
}

/**
 * Builds the library in `folder`. Does nothing where there is no MPI. Gives back what the compiler said where it failed,
 * otherwise undefined.
 */
export function buildMpi(folder = path.join(root, 'build', 'Release')) {
  const compiler = findProgram('mpicxx') ?? findProgram('mpic++');
  if (compiler === undefined) return undefined;
  const library = path.join(folder, 'libsralign_mpi.so');
  const recipeFile = `${library}.json`;
  if (isCurrent(library, recipeFile, compiler)) return undefined;
  mkdirSync(folder, { recursive: true });
  // Renamed when it is complete: a process may have the old one open.
  const unfinished = `${library}.${process.pid}`;
  const result = spawnSync(compiler, [...OPTIONS, ...sources, '-o', unfinished], { encoding: 'utf8' });
  if (result.status === 0) {
    rmSync(recipeFile, { force: true });
    renameSync(unfinished, library);
    writeFileSync(recipeFile, recipe(compiler));
    return undefined;
  }
  rmSync(unfinished, { force: true });
  return `${result.error?.message ?? ''}${result.stdout ?? ''}${result.stderr ?? ''}`;
}
