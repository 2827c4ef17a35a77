/** The addon built with a sanitizer, and programs of Node that run on it. */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cpuInfo } from '../../lib/index.js';

export type Sanitizer = 'address' | 'thread';

const here = fileURLToPath(new URL('.', import.meta.url));
const sources = resolve(here, '../../src');
const build = resolve(here, '../../build');
const table = cpuInfo().kernels;

const LIBRARIES = { address: 'libasan.so', thread: 'libtsan.so' };

/**
 * The first finding ends the process. Node ends without freeing everything, and is not sanitized itself; the end of a job that
 * has failed waits for no thread.
 */
const OPTIONS = {
  address: { ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1' },
  thread: {
    TSAN_OPTIONS:
      'ignore_noninstrumented_modules=1:halt_on_error=1:report_thread_leaks=0:allocator_may_return_null=1',
  },
};

/** The library of the compiler that a program must load first, or undefined where the compiler has none. */
export function libraryOf(sanitizer: Sanitizer): string | undefined {
  const { stdout } = spawnSync('g++', [`-print-file-name=${LIBRARIES[sanitizer]}`], { encoding: 'utf8' });
  const file = stdout?.trim() ?? '';
  return isAbsolute(file) && existsSync(file) ? file : undefined;
}

export interface Outcome {
  status: number | null;
  output: string;
}

/** Asynchronous, as it takes minutes in which the test runner wants to hear of this process. */
function run(command: string, args: string[], cwd: string, env = process.env): Promise<Outcome> {
  return new Promise(done => {
    execFile(command, args, { cwd, env, maxBuffer: 1 << 28 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      done({ status, output: `${stdout}${stderr}` });
    });
  });
}

async function make(sanitizer: Sanitizer, ...args: string[]): Promise<void> {
  const headers = resolve(process.execPath, '../../include/node');
  const api = dirname(createRequire(import.meta.url).resolve('node-addon-api'));
  const variables = [`SANITIZER=${sanitizer}`, `TABLE=${table}`, `INCLUDES=${headers} ${api}`];
  const { status, output } = await run('make', ['-j2', ...variables, ...args], here);
  if (status !== 0) throw new Error(`The addon does not build with the ${sanitizer} sanitizer:\n${output}`);
}

/** Builds it, where it is not built; returns the file. */
export async function buildAddon(sanitizer: Sanitizer): Promise<string> {
  await make(sanitizer);
  return join(build, `sanitize-${sanitizer}`, 'sralign_native.node');
}

export interface Mutation {
  /** Of native/src. */
  unit: string;
  line: string;
  becomes: string;
}

/** Builds it with a line that is wrong; returns the file. The line must be there once. */
export async function buildMutant(
  sanitizer: Sanitizer,
  name: string,
  { unit, line, becomes }: Mutation,
): Promise<string> {
  const folder = join(build, `sanitize-${sanitizer}`, 'mutants', name);
  mkdirSync(dirname(join(folder, unit)), { recursive: true });
  const text = readFileSync(join(sources, unit), 'utf8');
  if (text.split(line).length !== 2) throw new Error(`${unit} does not have "${line}" once.`);
  writeFileSync(join(folder, unit), text.replace(line, becomes));
  await make(sanitizer, `MUTANT=${folder}`, `UNIT=${unit}`, 'mutant');
  return join(folder, 'sralign_native.node');
}

/** The environment of a program of Node, and of those it starts, that loads `addon`. */
function environment(sanitizer: Sanitizer, addon: string): NodeJS.ProcessEnv {
  return {
    ...process.env,
    ...OPTIONS[sanitizer],
    LD_PRELOAD: libraryOf(sanitizer),
    NODE_OPTIONS: `--require ${join(here, 'redirect.cjs')}`,
    SRALIGN_TEST_ADDON: addon,
    SRALIGN_CPU_KERNELS: table,
  };
}

/** ThreadSanitizer needs addresses where it expects them, so the system is not to choose them at random. */
export function runNode(sanitizer: Sanitizer, addon: string, ...args: string[]): Promise<Outcome> {
  const command = [...(sanitizer === 'thread' ? ['setarch', '-R'] : []), process.execPath, ...args];
  return run(command[0]!, command.slice(1), resolve(here, '../../..'), environment(sanitizer, addon));
}
