// SIGKILL at random moments: what a crash, an out-of-memory kill or a power cut leaves. The run goes on with --resume until it
// is finished, and must then be what it had been without.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  checkpointsOf,
  compare,
  hasEnded,
  hasMpirun,
  lost,
  processesIn,
  Run,
  survived,
  undisturbed,
} from './runs.mjs';

const VARIANTS = [
  { name: 'f32' },
  { name: 'bf16', settings: ['training.dtype=bf16'] },
  { name: 'accumulation', settings: ['training.microbatchPairs=1'] },
  { name: 'two epochs', settings: ['training.batchPairs=2', 'training.maxSteps=null', 'training.epochs=2'] },
  { name: 'AdamW', settings: ['optimizer.name=adamw'] },
  { name: 'keepLast 1', settings: ['checkpoint.keepLast=1', 'checkpoint.everySteps=1'] },
  {
    name: 'best model',
    settings: ['checkpoint.keepBest=eval_loss', 'output.model=best', 'evaluation.everySteps=2'],
  },
  { name: 'during the reference pass', when: 'reference' },
  { name: 'during saves', when: 'save', settings: ['checkpoint.everySteps=1'] },
  { name: 'twice in a row', kills: 2 },
  ...(hasMpirun
    ? [
        { name: '2 ranks', ranks: 2 },
        { name: '2 ranks, during saves', ranks: 2, when: 'save' },
      ]
    : []),
];

/** `count` kills, over all variants in turn. */
export async function* killRuns(count, random) {
  for (let number = 0; number < count; number++) {
    const variant = VARIANTS[number % VARIANTS.length];
    yield { part: `killed: ${variant.name}`, outcome: await killAndResume(variant, random) };
  }
}

async function killAndResume({ name, settings = [], ranks = 1, when = 'any', kills = 1 }, random) {
  const whole = await undisturbed(name, settings, ranks);
  const run = new Run(name, settings, ranks);
  let announced = 0;
  let resumedFrom = null;
  const moments = [];
  const start = (...more) => {
    const job = run.start(...more);
    resumedFrom = null;
    job.onLine(line => {
      announced = Math.max(announced, Number(/^checkpoint .*step-(\d+)/.exec(line)?.[1] ?? 0));
      resumedFrom ??= /^resumed from step (\d+)/.exec(line)?.[1] ?? null;
    });
    return job;
  };
  for (let kill = 0; kill < kills; kill++) {
    const job = start(...(kill === 0 ? [] : ['--resume']));
    const moment = await killMoment(job, run, when, whole.job, random);
    if (moment === null) break; // it was faster
    moments.push(moment);
    endAll(job, run, random);
    await job.ended;
    if (!(await hasEnded(run.home))) return lost(`${moments.join('; ')}: processes are left`);
  }
  const owed = Math.max(announced, stepOf(checkpointsOf(run).at(-1)));
  const job = start('--resume');
  await job.ended;
  const outcome = compare(job, run, whole.run);
  if (outcome !== survived) return { ...outcome, why: `killed ${moments.join(' and ')}: ${outcome.why}` };
  const finished = job.stderr.includes('nothing to do');
  if (!finished && Number(resumedFrom ?? 0) < owed)
    return lost(`killed ${moments.join(' and ')}: resumed from step ${resumedFrom ?? 0}, not ${owed}`);
  return survived;
}

const stepOf = checkpoint => Number(checkpoint?.replace('step-', '') ?? 0);

/** Waits for a random moment of that kind; returns what it was, or null when the job ended before. */
async function killMoment(job, run, when, whole, random) {
  const ended = job.ended.then(() => null);
  const seen = text => new Promise(settle => job.onLine(line => line.includes(text) && settle()));
  if (when === 'reference') {
    const waitMs = Math.round(random() * 400);
    const moment = seen('training pairs').then(() => delay(waitMs));
    return Promise.race([moment.then(() => `${waitMs} ms into the reference pass`), ended]);
  }
  if (when === 'save') {
    const number = 1 + Math.floor(random() * 5);
    const waitMs = Math.round(random() * 12);
    return Promise.race([duringSave(job, run, number, waitMs), ended]);
  }
  if (random() < 0.5) {
    const waitMs = Math.round(random() * whole.wallMs);
    return Promise.race([delay(waitMs).then(() => `after ${waitMs} ms`), ended]);
  }
  const line = whole.lines[Math.floor(random() * whole.lines.length)];
  // What stands before the first number that a run gives is the same in each.
  const start = line.startsWith('step ') ? line.split('  ')[0] : line.split(/[\d/]/)[0];
  const waitMs = Math.round(random() * 60);
  return Promise.race([
    seen(start)
      .then(() => delay(waitMs))
      .then(() => `${waitMs} ms after “${start.trim()}”`),
    ended,
  ]);
}

/** Some milliseconds into the save of that number, counted by the temporary names that appear. */
async function duringSave(job, run, number, waitMs) {
  const saves = new Set();
  await new Promise(settle => job.onLine(line => line.startsWith('step ') && settle()));
  while (saves.size < number && job.code === undefined) {
    for (const folder of [join(run.folder, 'checkpoints'), run.folder])
      for (const name of temporaryNames(folder)) saves.add(name);
    await delay(1);
  }
  await delay(waitMs);
  return `${waitMs} ms into save ${number}`;
}

function temporaryNames(folder) {
  try {
    return readdirSync(folder).filter(name => name.startsWith('.tmp-'));
  } catch {
    return []; // not created yet
  }
}

/** One process is killed: of several ranks any, or the launcher. The others have to end by themselves. */
function endAll(job, run, random) {
  if (run.ranks === 1) return job.kill('SIGKILL');
  const pids = processesIn(run.home);
  const pid = pids[Math.floor(random() * pids.length)] ?? job.child.pid;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    job.kill('SIGKILL'); // it has ended meanwhile
  }
}
