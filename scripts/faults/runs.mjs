// Tiny training runs of the built command, and what makes two of them equal.
import { spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

const ROOT = resolve(fileURLToPath(import.meta.url), '../../..');
export const MAIN = join(ROOT, 'packages/cli/dist/main.js');
const MODEL = join(ROOT, 'examples/models/stories260k');
const DATA = join(ROOT, 'examples/data/hh-rlhf');

const hangLimitMs = 240_000;

/** A folder under which everything of a call lies; it is removed when the process ends. */
const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'sralign-faults-')));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
process.on('SIGINT', () => process.exit(130));
process.on('SIGTERM', () => process.exit(143));

let folders = 0;
export function newFolder(name) {
  const folder = join(scratch, `${String(++folders).padStart(4, '0')}-${name.replaceAll(/\W+/g, '-')}`);
  mkdirSync(folder);
  return folder;
}

const rowsOf = (name, count) =>
  gunzipSync(readFileSync(join(DATA, name)))
    .toString('utf8')
    .split('\n')
    .slice(0, count)
    .map(line => `${line}\n`)
    .join('');

/** A run of some seconds, with a model and data of its own, so that they can be changed. Nothing is started yet. */
export class Run {
  /**
   * @param settings on top of the tiny run's, as `key=value`
   * @param ranks more than one: through `sralign launch`
   */
  constructor(name, settings = [], ranks = 1) {
    this.home = newFolder(name);
    this.folder = join(this.home, 'run');
    this.ranks = ranks;
    this.settings = settings;
    this.model = join(this.home, 'model');
    this.train = join(this.home, 'train.jsonl');
    this.eval = join(this.home, 'eval.jsonl');
    cpSync(MODEL, this.model, { recursive: true });
    writeFileSync(this.train, rowsOf('harmless-base.train.jsonl.gz', 60));
    writeFileSync(this.eval, rowsOf('harmless-base.eval.jsonl.gz', 12));
    this.config = join(this.home, 'config.yaml');
    writeFileSync(
      this.config,
      `method: sr-dpo
model: { path: model }
data: { format: hh, train: train.jsonl, eval: eval.jsonl }
tokens: { maxTokens: 160, maxPromptTokens: 96, longPrompt: drop }
augmentation: { maxTokens: 144 }
schedule: { warmupSteps: 0 }
training: { batchPairs: 4, maxSteps: 12, threads: 1 }
optimizer: { learningRate: 1e-4 }
evaluation: { everySteps: 4 }
checkpoint: { everySteps: 2 }
output: { folder: run }
`,
    );
  }

  arguments(...more) {
    const set = this.settings.flatMap(setting => ['--set', setting]);
    return ['train', this.config, ...set, ...more];
  }

  /** Starts it; `more` are arguments, such as --resume. */
  start(...more) {
    const launch = this.ranks > 1 ? ['launch', '--nproc', String(this.ranks)] : [];
    return new Job(process.execPath, [MAIN, ...launch, ...this.arguments(...more)], this.home);
  }
}

/** A command that is running, with what it has said. */
export class Job {
  stdout = '';
  stderr = '';
  /** Of every line that has been written to standard error, in order. */
  #listeners = [];

  constructor(command, args, cwd, env = process.env) {
    this.startedAt = Date.now();
    this.cwd = cwd;
    this.child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stdout.setEncoding('utf8').on('data', text => {
      this.stdout += text;
    });
    let rest = '';
    this.child.stderr.setEncoding('utf8').on('data', text => {
      this.stderr += text;
      const parts = (rest + text).split('\n');
      rest = parts.pop();
      for (const line of parts) for (const listener of this.#listeners) listener(line);
    });
    this.ended = new Promise((settle, reject) => {
      const hung = setTimeout(() => {
        this.hung = true;
        this.kill('SIGKILL');
      }, hangLimitMs);
      this.withoutTimeLimit = () => clearTimeout(hung);
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => {
        clearTimeout(hung);
        this.code = code;
        this.signal = signal;
        this.wallMs = Date.now() - this.startedAt;
        settle(this);
      });
    });
  }

  onLine(listener) {
    this.#listeners.push(listener);
  }

  kill(signal) {
    this.child.kill(signal);
  }

  /** The lines of standard error. */
  get lines() {
    return this.stderr.split('\n').filter(line => line !== '');
  }

  /** The last line of standard error that says something: what a user would read of a failure. */
  get complaint() {
    if (this.hung) return `it hung for ${hangLimitMs / 1000} s`;
    const ending = this.signal === null ? `exit code ${this.code}` : this.signal;
    return `${ending}: ${this.lines.at(-1) ?? '(nothing)'}`;
  }
}

/** The processes of a job that work in `home`: its ranks, and what starts them. */
export function processesIn(home) {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter(pid => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`) === home;
      } catch {
        return false; // has ended meanwhile
      }
    });
}

/** Returns when no process of a run is left; false where some are after 30 s. */
export async function hasEnded(home) {
  for (let tries = 0; tries < 300; tries++) {
    if (processesIn(home).length === 0) return true;
    await delay(100);
  }
  return false;
}

/** The names of its checkpoints, oldest first. */
export function checkpointsOf(run) {
  const folder = join(run.folder, 'checkpoints');
  return existsSync(folder)
    ? readdirSync(folder)
        .filter(name => /^step-\d+$/.test(name))
        .sort()
    : [];
}

const TIME_DEPENDENT = /time|memory|tokens_per_second|mfu/;

function metricsOf(run) {
  const text = readFileSync(join(run.folder, 'metrics.jsonl'), 'utf8');
  if (!text.endsWith('\n')) throw new Error('metrics.jsonl ends in the middle of a line');
  return text
    .trimEnd()
    .split('\n')
    .map(line =>
      JSON.stringify(
        Object.fromEntries(Object.entries(JSON.parse(line)).filter(([name]) => !TIME_DEPENDENT.test(name))),
      ),
    );
}

/** Of a file of a model; the model card without the lines that tell of time. */
function contentsOf(folder, name) {
  const bytes = readFileSync(join(folder, name));
  if (name !== 'README.md') return bytes;
  const timeless = bytes
    .toString('utf8')
    .split('\n')
    .filter(line => !/^The run took |_ms \|/.test(line));
  return Buffer.from(timeless.join('\n'));
}

/** Null where two finished runs are equal byte for byte; otherwise what differs first. */
export function difference(run, undisturbed) {
  const metrics = [metricsOf(run), metricsOf(undisturbed)];
  if (metrics[0].join() !== metrics[1].join()) {
    const at = metrics[1].findIndex((line, index) => line !== metrics[0][index]);
    return `metrics.jsonl, record ${at < 0 ? metrics[1].length + 1 : at + 1}`;
  }
  // An interrupted run has saved at other steps too, so of the checkpoints before the last others may be left.
  const last = checkpointsOf(undisturbed).at(-1);
  if (checkpointsOf(run).at(-1) !== last) return `the last checkpoint is ${checkpointsOf(run).at(-1)}`;
  for (const part of ['final', `checkpoints/${last}`]) {
    const [own, other] = [run, undisturbed].map(({ folder }) => join(folder, part));
    const names = [own, other].map(folder => readdirSync(folder).sort().join(', '));
    if (names[0] !== names[1]) return `${part} has ${names[0]}`;
    for (const name of readdirSync(other)) {
      const contents = [own, other].map(folder => contentsOf(folder, name));
      if (!contents[0].equals(contents[1])) return `${part}/${name}`;
    }
  }
  const stray = readdirSync(run.folder, { recursive: true }).find(name => /(^|\/)\.tmp-/.test(name));
  return stray === undefined ? null : `${stray} is left`;
}

export const survived = { survived: true };
export const lost = why => ({ lost: true, why });
export const unequal = why => ({ unequal: true, why });

/** What has become of a run that has ended after being disturbed. */
export function compare(job, run, undisturbed) {
  if (job.code !== 0) return lost(job.complaint);
  const what = difference(run, undisturbed);
  return what === null ? survived : unequal(what);
}

const baselines = new Map();

/** The same run, undisturbed. It is made once. `prepare` gets the run before it starts. */
export async function undisturbed(name, settings = [], ranks = 1, prepare = () => {}) {
  if (!baselines.has(name)) {
    const run = new Run(`${name}-undisturbed`, settings, ranks);
    prepare(run);
    const job = await run.start().ended;
    if (job.code !== 0) throw new Error(`The undisturbed run (${name}) fails: ${job.complaint}`);
    baselines.set(name, { run, job });
  }
  return baselines.get(name);
}

export const hasMpirun = spawnSync('mpirun', ['--version']).status === 0;
