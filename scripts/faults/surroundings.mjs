// What happens around a run: a disk that is full or becomes read-only, memory that runs out, a second run in the same folder, signals,
// and readers of its output that go away.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { refused } from './damage.mjs';
import { compare, hasEnded, hasMpirun, Job, lost, MAIN, Run, survived, undisturbed } from './runs.mjs';

/** Calls `then` once, when a line of standard error begins so. */
function onceAt(job, start, then) {
  let told = false;
  job.onLine(line => {
    if (told || !line.startsWith(start)) return;
    told = true;
    then();
  });
}

/** A line of an undisturbed run at which something is to happen: a step other than the last. */
const randomStep = random => `step ${1 + Math.floor(random() * 10)}/`;

export async function* signals(random) {
  const kinds = [1, ...(hasMpirun ? [2] : [])];
  for (const ranks of kinds) {
    const whole = await undisturbed(`signals to ${ranks}`, [], ranks);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      const run = new Run(signal, [], ranks);
      const job = run.start();
      const step = randomStep(random);
      onceAt(job, step, () => job.kill(signal));
      await job.ended;
      await hasEnded(run.home);
      const part = ranks === 1 ? signal : `${signal}, ${ranks} ranks`;
      if (job.code !== 130 && job.code !== 0) {
        yield { part, outcome: lost(`at ${step}: ${job.complaint}`) };
        continue;
      }
      const resumed = await run.start('--resume').ended;
      const nothing = job.code === 130 && !/^(resumed from step|nothing to do)/m.test(resumed.stderr);
      yield {
        part,
        outcome: nothing ? lost(`at ${step}: nothing was saved`) : compare(resumed, run, whole.run),
      };
    }
  }
}

export async function* lostReaders(random) {
  const whole = await undisturbed('signals to 1');
  for (const step of [randomStep(random), randomStep(random)]) {
    const run = new Run('readers');
    const job = run.start();
    onceAt(job, step, () => {
      job.child.stdout.destroy();
      job.child.stderr.destroy();
    });
    yield { part: 'lost readers', outcome: compare(await job.ended, run, whole.run) };
  }
  const run = new Run('full output');
  const args = ['-c', 'exec "$@" 2>/dev/full', 'sh', process.execPath, MAIN, ...run.arguments()];
  const job = await new Job('sh', args, run.home).ended;
  yield { part: 'full disk behind the output', outcome: compare(job, run, whole.run) };
}

export async function* twoAtOnce() {
  const whole = await undisturbed('signals to 1');
  for (const options of [[], ['--resume'], ['--overwrite']]) {
    const run = new Run('twice');
    const job = run.start();
    let second;
    onceAt(job, 'step 2/', () => {
      // It stands still meanwhile, so that it cannot end before the other one has tried.
      job.kill('SIGSTOP');
      second = run.start(...options).ended.finally(() => job.kill('SIGCONT'));
    });
    await job.ended;
    const what = `a second run ${options.join(' ')}`;
    const outcome = refused(await second, `process ${job.child.pid}`, what);
    yield { part: 'two runs at once: the second', outcome };
    yield { part: 'two runs at once: the first', outcome: compare(job, run, whole.run) };
  }
}

/** The address space of a running process is limited to what it has, and some MiB. */
export async function* memoryLimit() {
  const part = 'memory limit';
  if (spawnSync('prlimit', ['--version']).status !== 0) return yield { part, skipped: 'there is no prlimit' };
  const whole = await undisturbed('signals to 1');
  for (const moreMebibytes of [0, 1, 4, 16, 64]) {
    const run = new Run('memory');
    const job = run.start();
    onceAt(job, 'step 3/', () => {
      const { pid } = job.child;
      const kibibytes = Number(/VmSize:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
      const limit = (kibibytes + moreMebibytes * 1024) * 1024;
      spawnSync('prlimit', ['--pid', String(pid), `--as=${limit}`]);
    });
    await job.ended;
    if (job.code === 0) yield { part, outcome: compare(job, run, whole.run) };
    else if (job.hung || job.lines.length === 0) yield { part, outcome: lost(job.complaint) };
    else yield { part, outcome: compare(await run.start('--resume').ended, run, whole.run) };
  }
}

/** A run folder on a small file system of its own. */
class Disk {
  constructor(folder, mebibytes) {
    this.folder = folder;
    mkdirSync(folder);
    this.works = this.#mount('-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'none');
    if (this.works) process.on('exit', () => this.remove());
  }

  #mount(...args) {
    return spawnSync('mount', [...args, this.folder]).status === 0;
  }

  /** Writes into it until nothing fits. */
  fill() {
    const chunk = Buffer.alloc(4096, 1);
    try {
      for (;;) writeFileSync(join(this.folder, 'filler'), chunk, { flag: 'a' });
    } catch {
      // It is full.
    }
  }

  empty() {
    rmSync(join(this.folder, 'filler'));
  }

  setReadOnly() {
    return this.#mount('-o', 'remount,bind,ro');
  }

  remove() {
    spawnSync('umount', ['-l', this.folder]);
  }
}

/**
 * Makes the checkpoints read-only; a file system with files that are open for writing, such as metrics.jsonl, stays
 * writable, so they get a mount of their own. Returns whether that worked.
 */
function setReadOnly(folder) {
  const mount = (...args) => spawnSync('mount', args).status === 0;
  return mount('--bind', folder, folder) && mount('-o', 'remount,bind,ro', folder);
}

export async function* disks(random) {
  const whole = await undisturbed('signals to 1');
  const needsMount = 'it needs to mount a file system (root)';

  const small = new Run('small disk');
  const disk = new Disk(small.folder, 4);
  if (!disk.works) return yield { part: 'disk full, read-only folder', skipped: needsMount };
  const refusal = await small.start().ended;
  disk.remove();
  const began = refusal.stderr.includes('step 1/');
  yield {
    part: 'disk too small at the start',
    outcome: began
      ? lost('it has started')
      : refused(refusal, small.folder.split('/').at(-1), 'a disk of 4 MiB'),
  };

  for (let times = 0; times < 3; times++) {
    // The first checkpoint is that of step 2.
    const step = `step ${3 + Math.floor(random() * 7)}/`;
    for (const [what, spoil, mend] of [
      ['disk full', disk => disk.fill(), disk => disk.empty()],
      [
        'checkpoints become read-only',
        disk => setReadOnly(join(disk.folder, 'checkpoints')),
        disk => spawnSync('umount', ['-l', join(disk.folder, 'checkpoints')]),
      ],
    ]) {
      const run = new Run(what);
      const disk = new Disk(run.folder, 64);
      const job = run.start();
      onceAt(job, step, () => spoil(disk));
      await job.ended;
      const named = job.complaint.includes(run.folder) || /\brun\//.test(job.complaint);
      mend(disk);
      let outcome = survived;
      if (job.code === 0)
        outcome = compare(job, run, whole.run); // it was faster
      else if (job.code !== 1 || !named) outcome = lost(`${what} at ${step}: ${job.complaint}`);
      yield { part: `${what}: says so`, outcome };
      const resumed = await run.start('--resume').ended;
      yield { part: `${what}: goes on`, outcome: compare(resumed, run, whole.run) };
      disk.remove();
    }
  }

  const run = new Run('read-only');
  const readOnly = new Disk(run.folder, 64);
  readOnly.setReadOnly();
  const job = await run.start().ended;
  yield { part: 'read-only folder at the start', outcome: refused(job, 'run', 'a read-only folder') };
  readOnly.remove();
}
