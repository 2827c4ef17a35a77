/**
 * What makes tokens of data, beside the data and the settings: this code, the libraries that it calls, and Unicode as Node.js
 * knows it. A set that another version encoded may be another set.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { endianness } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WORKER_FILE } from './encode-pool.js';

let known: string | undefined;

/** Hexadecimal; read once a process. */
export function codeDigest(): string {
  // Where the sources are run the threads that encode run what was built.
  const roots = new Set([
    fileURLToPath(new URL('..', import.meta.url)),
    join(dirname(WORKER_FILE), '..', '/'),
  ]);
  known ??= digestCode([...roots], fileURLToPath(new URL('../../package.json', import.meta.url)));
  return known;
}

/** @param packageFile names the libraries */
export function digestCode(folders: readonly string[], packageFile: string): string {
  const hash = createHash('sha256');
  const add = (facts: unknown): unknown => hash.update(`${JSON.stringify(facts)}\n`);
  for (const folder of folders) {
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    for (const name of names.filter(isCode).sort()) add([name, readFileSync(join(folder, name), 'utf8')]);
  }
  add([...librariesOf(packageFile).values()].sort());
  add([process.versions.unicode ?? null, endianness()]);
  return hash.digest('hex');
}

const isCode = (name: string): boolean => /\.[jt]s$/.test(name) && !name.endsWith('.d.ts');

/** Name and version of all that a package depends on, and of what that depends on. */
function librariesOf(packageFile: string, found = new Map<string, string>()): Map<string, string> {
  const { dependencies = {} } = readPackage(packageFile);
  const { resolve } = createRequire(packageFile);
  for (const name of Object.keys(dependencies)) {
    const files = (resolve.paths(name) ?? []).map(folder => join(folder, name, 'package.json'));
    const file = files.find(file => existsSync(file));
    if (file === undefined || found.has(file)) continue;
    found.set(file, `${name} ${readPackage(file).version}`);
    librariesOf(file, found);
  }
  return found;
}

const readPackage = (file: string): { version: string; dependencies?: Record<string, string> } =>
  JSON.parse(readFileSync(file, 'utf8')) as { version: string; dependencies?: Record<string, string> };
