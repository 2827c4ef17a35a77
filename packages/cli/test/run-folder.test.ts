/** The folder of a run from the command line: one writer at a time, nothing deleted that is not the run's, room for the saves. */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { describe, expect, it } from 'vitest';
import { onceOnStderr } from './distributed/ranks.js';
import { lines, MAIN, ROOT, runCommand, sralign, TemporaryFolder } from './run.js';
import { tinyConfig } from './tiny.js';

const set = (...assignments: string[]): string[] => assignments.flatMap(assignment => ['--set', assignment]);

/** Runs a training of many steps, and `meanwhile` while it trains; then kills it. */
async function whileTraining(config: string, meanwhile: (pid: number) => Promise<void>): Promise<void> {
  let work: Promise<void> | undefined;
  let running: ChildProcess | undefined;
  await sralign(['train', config, ...set('training.maxSteps=100000')], undefined, child => {
    running = child;
    onceOnStderr(child, 'step 2/', () => {
      work = meanwhile(child.pid!).finally(() => child.kill('SIGKILL'));
    });
  });
  await work;
  expect(running?.signalCode).toBe('SIGKILL');
}

describe('the folder of a run', () => {
  it('has one writer at a time, and is free as soon as that is killed', async () => {
    using folder = new TemporaryFolder();
    const config = tinyConfig(folder);
    await whileTraining(config, async pid => {
      for (const options of [[], ['--resume'], ['--overwrite']]) {
        const refused = await sralign(['train', config, ...set('training.maxSteps=100000'), ...options]);
        expect(refused.code).toBe(2);
        expect(lines(refused.stderr)).toHaveLength(1);
        expect(refused.stderr).toContain(`process ${pid} on ${hostname()}, which started at 20`);
      }
    });
    const again = await sralign(['train', config, '--overwrite']);
    expect(again).toMatchObject({ code: 0 });
  });

  it('is not overwritten where the configuration lies in it', async () => {
    using folder = new TemporaryFolder();
    const config = tinyConfig(folder);
    const before = readdirSync(folder.path);
    const here = set(`output.folder=${folder.path}`);
    const refused = await sralign(['train', config, ...here, '--overwrite']);
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.stderr).toContain('config.yaml');
    expect(readdirSync(folder.path)).toEqual(before);
    expect(readFileSync(config, 'utf8')).toContain('method: sr-dpo');
  });

  const hasMounts =
    spawnSync('unshare', ['--user', '--map-root-user', '--mount', 'mount', '-t', 'tmpfs', 'none', '/mnt'])
      .status === 0;
  it.skipIf(!hasMounts)('must have room for all that the run saves, before the first step', async () => {
    using folder = new TemporaryFolder();
    const config = tinyConfig(folder);
    const disk = folder.join('disk');
    mkdirSync(disk);
    // Room for one checkpoint of the model of 1 MB, not for three.
    const command = `mount -t tmpfs -o size=4m none "${disk}" && exec "$0" "$@"`;
    const args = [MAIN, 'train', config, ...set(`output.folder=${disk}/run`, 'checkpoint.keepLast=2')];
    const { code, stderr } = await runCommand(
      'unshare',
      ['--user', '--map-root-user', '--mount', 'sh', '-c', command, process.execPath, ...args],
      ROOT,
    );
    expect(stderr).toMatch(
      /disk\/run.*The run needs \d+ bytes.*3 checkpoints.*\d+ bytes .*are free\. Free space/,
    );
    expect(stderr).not.toContain('step 1/');
    expect(code).toBe(2);
  });
});
