// Where oneDNN is, and how to get it where it is not.
import { existsSync } from 'node:fs';
import path from 'node:path';

/** The folder that holds include/dnnl.h, or undefined: the active conda environment, the system, Homebrew. */
export function findOneDnn() {
  const prefixes = [process.env.CONDA_PREFIX, '/usr', '/usr/local', '/opt/homebrew'];
  return prefixes.find(prefix => prefix && existsSync(path.join(prefix, 'include', 'dnnl.h')));
}

export const ONEDNN_HELP =
  'oneDNN is missing. Install it: "apt-get install libdnnl-dev" (Debian, Ubuntu), "brew install onednn libomp" ' +
  '(macOS) or "conda install -c conda-forge onednn" in the active environment.';
