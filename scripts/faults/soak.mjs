// `npm run soak -- [--steps N]`: one long run of the tiny model in one process, with evaluations and checkpoints. Samples resident memory, step time and
// open handles every 100 steps. Fails where memory grows by more than 5 % after the warm-up (a quarter of the run), or handles grow at all.
import { readdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Run } from './runs.mjs';

const SAMPLE_STEPS = 100;
const growthLimit = 0.05;

const { values } = parseArgs({ options: { steps: { type: 'string', default: '2000' } } });
const steps = Number(values.steps);
if (!Number.isSafeInteger(steps) || steps < 8 * SAMPLE_STEPS)
  throw new Error(`--steps is a whole number, at least ${8 * SAMPLE_STEPS}`);

const run = new Run('soak', [
  `training.maxSteps=${steps}`,
  `evaluation.everySteps=${SAMPLE_STEPS}`,
  `checkpoint.everySteps=${SAMPLE_STEPS}`,
  // Small enough that the loss stays finite for as long as this runs.
  'optimizer.learningRate=1e-6',
]);
const job = run.start();
job.withoutTimeLimit();
const samples = [];
let before = null;
console.log('  step  resident MiB  handles  ms per step');
job.onLine(line => {
  const step = Number(/^step (\d+)\//.exec(line)?.[1] ?? 0);
  // Between two saves, so that no file of a checkpoint is open.
  if (step % SAMPLE_STEPS !== SAMPLE_STEPS / 2) return;
  const { pid } = job.child;
  const residentKibibytes = Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
  const handles = readdirSync(`/proc/${pid}/fd`).length;
  const nowMs = performance.now();
  const stepMs = before === null ? null : (nowMs - before) / SAMPLE_STEPS;
  before = nowMs;
  samples.push({ step, residentKibibytes, handles, stepMs });
  const cells = [
    String(step).padStart(6),
    (residentKibibytes / 1024).toFixed(1).padStart(12),
    String(handles).padStart(7),
    (stepMs?.toFixed(1) ?? '').padStart(11),
  ];
  console.log(cells.join('  '));
});
await job.ended;
if (job.code !== 0) throw new Error(`The run has failed: ${job.complaint}`);

const settled = samples.filter(({ step }) => step > steps / 4);
const part = Math.ceil(settled.length / 3);
const [first, last] = [settled.slice(0, part), settled.slice(-part)];
const median = (list, key) => list.map(sample => sample[key]).sort((a, b) => a - b)[list.length >> 1];
const growth = median(last, 'residentKibibytes') / median(first, 'residentKibibytes') - 1;
const handlesGrown = median(last, 'handles') - median(first, 'handles');
const [early, late] = [first, last].map(list => median(list, 'stepMs').toFixed(1));
console.log(
  `${steps} steps: memory ${growth < 0 ? '' : '+'}${(100 * growth).toFixed(1)} %, handles ${handlesGrown < 0 ? '' : '+'}${handlesGrown} ` +
    `after the warm-up (medians of its first and last third); ${early} ms per step then, ${late} at the end`,
);
if (growth > growthLimit || handlesGrown > 0) process.exitCode = 1;
