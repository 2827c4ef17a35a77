// Builds the addon with node-gyp against the headers of the running Node, so that nothing is downloaded, and the MPI
// library where there is MPI.
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildMpi } from './mpi.mjs';
import { findOneDnn, ONEDNN_HELP, oneDnnVersion, oneDnnVersionHeader } from './onednn.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const nodeGyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/**
 * `configure` only when its result is missing or older than what it is made from; `build` is incremental anyway.
 * A package manager keeps the modification times of files it installs, so the time of the inode's change counts, too.
 */
function mustConfigure(versionHeader) {
  const result = path.join(root, 'build', 'Makefile');
  if (!existsSync(result)) return true;
  const made = statSync(result).mtimeMs;
  const sources = [
    path.join(root, 'binding.gyp'),
    fileURLToPath(import.meta.url),
    process.execPath,
    versionHeader,
  ];
  return sources.some(source => Math.max(statSync(source).mtimeMs, statSync(source).ctimeMs) > made);
}

const oneDnn = findOneDnn();
if (oneDnn === undefined) fail(ONEDNN_HELP);

const headers = path.resolve(process.execPath, '..', '..');
const options = ['--loglevel=warn'];
if (existsSync(path.join(headers, 'include', 'node', 'node_api.h'))) options.push(`--nodedir=${headers}`);

function run(...args) {
  const result = spawnSync(process.execPath, [nodeGyp, ...args], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (result.status !== 0) {
    fail(
      `${result.stdout ?? ''}${result.stderr ?? ''}\nThe native addon did not build; the reason is above.`,
    );
  }
}

if (mustConfigure(oneDnnVersionHeader(oneDnn))) {
  run(
    'configure',
    ...options,
    '--',
    `-Donednn_prefix=${oneDnn}`,
    `-Donednn_version=${oneDnnVersion(oneDnn)}`,
  );
}
run('build', ...options, '--jobs=max');

const mpiFailure = buildMpi();
if (mpiFailure !== undefined) fail(`${mpiFailure}\nThe MPI library did not build; the reason is above.`);
