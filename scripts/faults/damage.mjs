// Damaged checkpoints: every file, with a flipped bit, cut short, missing, and with the contents of another checkpoint. Each is refused
// by its name, nothing else is changed by the refusal, and the checkpoint goes on once it is whole again.
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import {
  checkpointsOf,
  compare,
  hasEnded,
  hasMpirun,
  lost,
  newFolder,
  processesIn,
  Run,
  survived,
  undisturbed,
  unequal,
} from './runs.mjs';

const CHECKSUMS = 'checksums.json';

/** A run that was killed with two checkpoints. `prepare` gets it before it starts. */
export async function killedRun(name, settings, ranks = 1, prepare = () => {}) {
  const run = new Run(name, settings, ranks);
  prepare(run);
  const job = run.start();
  job.onLine(line => {
    if (!line.startsWith('checkpoint') || !line.includes('step-000006')) return;
    // The ranks of a launcher that is killed alone would go on to the end.
    spawnSync('kill', ['-KILL', ...processesIn(run.home).map(String)]);
  });
  await job.ended;
  await hasEnded(run.home);
  return run;
}

export async function* damagedCheckpoints(random) {
  yield* damaged('damaged checkpoint', 1, random);
  if (hasMpirun) yield* damaged('damaged checkpoint of 2 ranks', 2, random);
  else yield { part: 'damaged checkpoint of 2 ranks', skipped: 'there is no mpirun' };
}

async function* damaged(part, ranks, random) {
  const whole = await undisturbed(`damage of ${ranks}`, [], ranks);
  const run = await killedRun(part, [], ranks);
  const [older, newest] = checkpointsOf(run)
    .slice(-2)
    .map(name => join(run.folder, 'checkpoints', name));
  const kept = join(newFolder('kept'), 'run');
  cpSync(run.folder, kept, { recursive: true });
  for (const name of readdirSync(newest)) {
    // What decides is the same code for shards of one rank and of several; the small files need not be tried twice.
    if (ranks > 1 && !name.startsWith('shard')) continue;
    for (const [what, damage] of Object.entries(DAMAGES)) {
      const file = join(newest, name);
      const original = readFileSync(file);
      damage(file, join(older, name), random);
      if (what !== 'missing' && readFileSync(file).equals(original)) continue; // the same in both checkpoints
      const job = await run.start('--resume').ended;
      // With the list of another checkpoint it is the files that do not fit it.
      const named = what === 'swap' && name === CHECKSUMS ? basename(newest) : name;
      yield { part: `${part}: ${what}`, outcome: refused(job, named, what) };
      rmSync(run.folder, { recursive: true });
      cpSync(kept, run.folder, { recursive: true });
    }
  }
  yield { part: `${part}: put back`, outcome: compare(await run.start('--resume').ended, run, whole.run) };

  rmSync(run.folder, { recursive: true });
  cpSync(kept, run.folder, { recursive: true });
  rmSync(newest, { recursive: true });
  const job = await run.start('--resume').ended;
  yield { part: `${part}: deleted, the one before it`, outcome: compare(job, run, whole.run) };
}

const DAMAGES = {
  flip(file, _, random) {
    const bytes = readFileSync(file);
    bytes[Math.floor(random() * bytes.length)] ^= 1 << Math.floor(random() * 8);
    writeFileSync(file, bytes);
  },
  truncation(file, _, random) {
    const bytes = readFileSync(file);
    writeFileSync(file, bytes.subarray(0, Math.floor(random() * bytes.length)));
  },
  swap(file, sameOfAnother) {
    copyFileSync(sameOfAnother, file);
  },
  missing(file) {
    rmSync(file);
  },
};

/** What has become of a start that must be refused with a message that has `name` in it. */
export function refused(job, name, what) {
  if (job.code === 0) return unequal(`${what} of ${name} was not refused`);
  if ((job.code !== 1 && job.code !== 2) || !job.complaint.includes(name))
    return lost(`${what} of ${name}: ${job.complaint}`);
  return survived;
}
