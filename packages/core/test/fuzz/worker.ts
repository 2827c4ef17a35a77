/**
 * Runs cases until it is told to stop or dies, and tells main.ts of each before it starts and of each failure. Which input a
 * case has follows from the seed, the target and the number of the case.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NativeError } from '@sralign/native';
import { SralignError } from '../../dist/errors.js';
import { mutate, Random } from './mutate.js';
import type { Target } from './target.js';
import { targets } from './targets.js';

export interface Case {
  readonly target: string;
  /** From 0: the corpus as it is, then mutations. */
  readonly number: number;
}

export type Message =
  | { readonly kind: 'start'; readonly case: Case }
  | { readonly kind: 'failure'; readonly case: Case; readonly what: string };

export interface WorkerOptions {
  readonly seed: number;
  /** The first case of each target. */
  readonly first: Readonly<Record<string, number>>;
  /** Where the input of the running case is. */
  readonly inputFile: string;
  /** Only this one, once. */
  readonly only: Case | null;
}

const corpus = fileURLToPath(new URL('../../test/fuzz/corpus/', import.meta.url));
const MIB = 2 ** 20;

/** What the mutations of a target start from. */
interface Start {
  readonly target: Target;
  /** The corpus, then the seeds. */
  readonly inputs: readonly Uint8Array[];
  /** How many are tried as they are. */
  readonly whole: number;
}

async function startOf(target: Target): Promise<Start> {
  const files = (await readdir(join(corpus, target.name)).catch(() => [])).sort();
  const kept = await Promise.all(files.map(file => readFile(join(corpus, target.name, file))));
  return { target, inputs: [...kept, ...target.seeds], whole: kept.length + 1 };
}

function inputOf(seed: number, { target, inputs, whole }: Start, number: number): Uint8Array {
  if (number < whole) return inputs[number]!;
  const random = new Random(seed ^ hash(`${target.name} ${number}`));
  return mutate(random, random.of(inputs), inputs, target.shape);
}

/** FNV-1a. */
const hash = (text: string): number =>
  [...text].reduce((sum, character) => Math.imul(sum ^ character.codePointAt(0)!, 16777619), 2166136261 | 0);

/** The keys of what every object inherits: no input may add one. */
const shared = [Object.prototype, Array.prototype, String.prototype, Function.prototype, Map.prototype];
const keysOfShared = (): string => shared.map(object => Reflect.ownKeys(object).map(String).join()).join(';');
const cleanKeys = keysOfShared();

let escaped: unknown[] = [];
process.on('unhandledRejection', error => escaped.push(error));
process.on('uncaughtException', error => escaped.push(error));

/** Memory of the process in bytes: now, and the most since the last reset. Null where the system does not tell. */
function memory(): { now: number; peak: number } | null {
  try {
    const status = readFileSync('/proc/self/status', 'latin1');
    const bytes = (key: string): number =>
      1024 * Number(new RegExp(`^${key}:\\s*(\\d+)`, 'm').exec(status)![1]);
    return { now: bytes('VmRSS'), peak: bytes('VmHWM') };
  } catch {
    return null;
  }
}

function resetPeak(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Without it the peak is that of the whole process: nothing is found beyond the first.
  }
}

/** What is wrong with a target's answer to an input; null: nothing. */
async function judge(target: Target, input: Uint8Array, folder: string): Promise<string | null> {
  const limitBytes = 10 * input.length + 64 * MIB;
  let grownBytes = Number.POSITIVE_INFINITY;
  let wrong: string | null = null;
  // What the collector leaves lying is no one's: what a second run on a swept heap does not need again does not count.
  for (let attempt = 0; attempt < 3 && grownBytes > limitBytes && wrong === null; attempt++) {
    if (attempt > 0) globalThis.gc!();
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    await target.prepare?.(folder);
    resetPeak();
    const before = memory();
    escaped = [];
    const thrown = await target.run(input, folder).then(
      () => null,
      (error: unknown) => ({ error }),
    );
    await new Promise(setImmediate);
    const after = memory();
    grownBytes = before === null || after === null ? 0 : after.peak - before.now;
    if (thrown !== null && !isClassified(thrown.error, target))
      wrong = `unclassified: ${described(thrown.error)}`;
    else if (escaped.length > 0) wrong = `escaped: ${described(escaped[0])}`;
    else if (keysOfShared() !== cleanKeys)
      wrong = `a shared prototype was changed: ${keysOfShared().slice(0, 300)}`;
  }
  if (wrong === null && grownBytes > limitBytes) {
    wrong = `memory: ${Math.round(grownBytes / MIB)} MiB for ${input.length} bytes`;
  }
  return wrong;
}

const isClassified = (error: unknown, { expected = [] }: Target): boolean =>
  error instanceof SralignError ||
  (error instanceof NativeError && typeof error.code === 'string') ||
  expected.some(Class => error instanceof Class);

const described = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message).split('\n').slice(0, 6).join('\n') : String(error);

async function main({ seed, first, inputFile, only }: WorkerOptions): Promise<void> {
  const send = (message: Message): void => void process.send!(message);
  const work = join(dirname(inputFile), 'work');
  process.on('disconnect', () => process.exit(0));
  const tryCase = async (start: Start, number: number): Promise<void> => {
    const input = inputOf(seed, start, number);
    writeFileSync(inputFile, input);
    const at = { target: start.target.name, number };
    send({ kind: 'start', case: at });
    const what = await judge(start.target, input, work);
    if (what !== null) send({ kind: 'failure', case: at, what });
    // A worker with a changed prototype is of no more use.
    if (keysOfShared() !== cleanKeys) process.exit(3);
  };
  const starts = await Promise.all(targets.map(startOf));
  if (only !== null) {
    const start = starts.find(({ target }) => target.name === only.target);
    if (start !== undefined) await tryCase(start, only.number);
    process.exit(start === undefined ? 2 : 0);
  }
  const next = new Map(starts.map(({ target }) => [target.name, first[target.name] ?? 0]));
  // The corpus of all, then one mutation of each in turn.
  for (let mutating = false; ; mutating = true) {
    for (const start of starts) {
      const { name } = start.target;
      const end = mutating ? next.get(name)! + 1 : start.whole;
      for (let number = next.get(name)!; number < end; number++) {
        next.set(name, number + 1);
        await tryCase(start, number);
      }
    }
  }
}

process.once('message', options => void main(options as WorkerOptions));
