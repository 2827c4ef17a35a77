// Builds the MPI library, build/Release/libsralign_mpi.so, where MPI's compiler is on PATH.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, realpathSync, renameSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from './cuda.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const library = path.join(root, 'build', 'Release', 'libsralign_mpi.so');
const SOURCES = [
  'communication_thread.cc',
  'library.cc',
  'mpi_collectives.cc',
  'operation.cc',
  'reduction.cc',
];
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

/** The libmpi that the compiler links, or nothing where its answer does not show it. */
function linkedMpi(compiler) {
  // Open MPI and MPICH both print what they would run.
  const command = spawnSync(compiler, ['-show'], { encoding: 'utf8' }).stdout ?? '';
  return [...command.matchAll(/-L(\S+)/g)]
    .map(([, folder]) => path.join(folder, 'libmpi.so'))
    .filter(existsSync)
    .map(file => realpathSync(file));
}

function isCurrent(compiler) {
  if (!existsSync(library)) return false;
  const built = statSync(library).mtimeMs;
  const folders = ['mpi', 'comm', 'core'].map(name => path.join(root, 'src', name));
  const headers = folders.flatMap(folder =>
    readdirSync(folder)
      .filter(name => name.endsWith('.h'))
      .map(name => path.join(folder, name)),
  );
  const sources = SOURCES.map(name => path.join(root, 'src', 'mpi', name));
  return [...sources, ...headers, ...linkedMpi(compiler), fileURLToPath(import.meta.url)].every(
    file => changedMs(file) <= built,
  );
}

/** Does nothing where there is no MPI. Gives back what the compiler said where it failed, otherwise undefined. */
export function buildMpi() {
  const compiler = findProgram('mpicxx') ?? findProgram('mpic++');
  if (compiler === undefined || isCurrent(compiler)) return undefined;
  mkdirSync(path.dirname(library), { recursive: true });
  // Renamed when it is complete: a process may have the old one open.
  const unfinished = `${library}.${process.pid}`;
  const sources = SOURCES.map(name => path.join(root, 'src', 'mpi', name));
  const result = spawnSync(compiler, [...OPTIONS, ...sources, '-o', unfinished], { encoding: 'utf8' });
  if (result.status === 0) {
    renameSync(unfinished, library);
    return undefined;
  }
  rmSync(unfinished, { force: true });
  return `${result.error?.message ?? ''}${result.stdout ?? ''}${result.stderr ?? ''}`;
}
