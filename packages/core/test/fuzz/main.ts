/**
 * `npm run test:fuzz -- --seconds N [--seed S] [--case TARGET:NUMBER]`: mutated inputs for every parser, in a process of its
 * own that may crash or hang. Prints counts per parser and each failure with the seed and the file that its input is in.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Case, Message, WorkerOptions } from './worker.js';

const LIMIT_MS = 5000;
/** Of waiting: a load on the machine makes it longer, work of its own does not. */
const WAITING_LIMIT_MS = 60_000;

const { values } = parseArgs({
  options: { seconds: { type: 'string' }, seed: { type: 'string' }, case: { type: 'string' } },
});
const seconds = Number(values.seconds ?? 60);
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
if (!(seconds > 0) || !Number.isInteger(seed)) {
  console.error('--seconds takes a number above 0, --seed a whole number.');
  process.exit(2);
}
const [, onlyTarget, onlyNumber] = /^([\w-]+):(\d+)$/.exec(values.case ?? '') ?? [];
const only = onlyTarget === undefined ? null : { target: onlyTarget, number: Number(onlyNumber) };

const folder = mkdtempSync(join(tmpdir(), 'sralign-fuzz-'));
/** In memory where that can be: a case writes a few files. */
const workFolder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'sralign-fuzz-'));
const inputFile = join(workFolder, 'running');
const counts = new Map<string, number>();
const failures: string[] = [];

function fail({ target, number }: Case, what: string): void {
  const file = join(folder, `${target}-${number}`);
  copyFileSync(inputFile, file);
  failures.push(target);
  console.log(
    `FAILED ${target}: ${what}\n  input ${file}; again: npm run test:fuzz -- --seed ${seed} --case ${target}:${number}`,
  );
}

/** Milliseconds of processor time. */
function processorMs({ pid }: ChildProcess): number | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ');
    return 10 * (Number(fields[11]) + Number(fields[12]));
  } catch {
    return null;
  }
}

/** Runs a worker until the time is over or it has died. */
function runWorker(deadlineMs: number): Promise<void> {
  return new Promise(resolve => {
    const worker = fork(fileURLToPath(new URL('worker.js', import.meta.url)), {
      execArgv: ['--expose-gc', '--max-old-space-size=1024'],
    });
    let running: (Case & { sinceMs: number; processorMs: number | null }) | null = null;
    let tooLong = false;
    let over = false;
    worker.on('message', (message: Message) => {
      if (message.kind === 'failure') return fail(message.case, message.what);
      running = { ...message.case, sinceMs: Date.now(), processorMs: processorMs(worker) };
      counts.set(running.target, running.number + 1);
      return undefined;
    });
    const watch = setInterval(() => {
      if (running !== null) {
        const waitedMs = Date.now() - running.sinceMs;
        const used = processorMs(worker);
        const workedMs =
          used === null || running.processorMs === null ? waitedMs : used - running.processorMs;
        if (workedMs > LIMIT_MS || waitedMs > WAITING_LIMIT_MS) {
          tooLong = true;
          fail(
            running,
            `takes more than ${LIMIT_MS / 1000} s (${workedMs} ms of work, ${waitedMs} ms in all)`,
          );
          worker.kill('SIGKILL');
          running = null;
        }
      }
      if (only === null && Date.now() > deadlineMs && !tooLong) {
        over = true;
        worker.kill('SIGKILL');
      }
    }, 100);
    worker.on('exit', (code, signal) => {
      clearInterval(watch);
      const crashed = !tooLong && !over && code !== 3 && !(only !== null && code === 0);
      if (crashed && running !== null)
        fail(running, `the process ended with ${signal ?? `exit code ${code}`}`);
      if (crashed && running === null)
        throw new Error(`The worker ended with ${signal ?? `exit code ${code}`} before its first case.`);
      resolve();
    });
    const options: WorkerOptions = { seed, first: Object.fromEntries(counts), inputFile, only };
    worker.send(options);
  });
}

console.log(`fuzz: seed ${seed}, ${only === null ? `${seconds} s` : values.case}`);
const deadlineMs = Date.now() + 1000 * seconds;
do await runWorker(deadlineMs);
while (only === null && Date.now() < deadlineMs);
for (const [target, count] of counts) {
  const failed = failures.filter(name => name === target).length;
  console.log(
    `${target.padEnd(24)} ${String(count).padStart(8)} inputs ${String(failed).padStart(6)} failures`,
  );
}
const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
console.log(`${total} inputs, ${failures.length} failures (seed ${seed})`);
rmSync(workFolder, { recursive: true });
if (failures.length > 0) process.exitCode = 1;
else rmSync(folder, { recursive: true, force: true });
