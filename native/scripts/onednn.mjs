// Where oneDNN is, and how to get it where it is not.
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** The folder that holds include/dnnl.h, or undefined: the active conda environment, the system, Homebrew. */
export function findOneDnn() {
  const prefixes = [process.env.CONDA_PREFIX, '/usr', '/usr/local', '/opt/homebrew'];
  return prefixes.find(prefix => prefix && existsSync(path.join(prefix, 'include', 'dnnl.h')));
}

export function oneDnnVersionHeader(prefix) {
  return path.join(prefix, 'include', 'oneapi', 'dnnl', 'dnnl_version.h');
}

/** Such as `2.6.3`. */
export function oneDnnVersion(prefix) {
  const text = readFileSync(oneDnnVersionHeader(prefix), 'utf8');
  const part = name => new RegExp(`DNNL_VERSION_${name} +(\\d+)`).exec(text)?.[1] ?? '0';
  return [part('MAJOR'), part('MINOR'), part('PATCH')].join('.');
}

export const ONEDNN_HELP =
  'oneDNN is missing. Install it: "apt-get install libdnnl-dev" (Debian, Ubuntu) or ' +
  '"conda install -c conda-forge onednn" in the active environment.';
