/** Training from the command line: a run, its folder, stopping and going on. */
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lines, MAIN, MODEL, ROOT, runCommand, sralign, TemporaryFolder } from './run.js';
import { tinyConfig } from './tiny.js';

const metricsOf = (run: string): Record<string, number>[] =>
  lines(readFileSync(join(run, 'metrics.jsonl'), 'utf8')).map(
    line => JSON.parse(line) as Record<string, number>,
  );

/** Two finished runs have the same metrics, the clock's aside, and the same weights. */
function expectSameRun(a: TemporaryFolder, b: TemporaryFolder): void {
  const withoutTimes = (of: TemporaryFolder): unknown =>
    metricsOf(of.join('run')).map(record =>
      Object.fromEntries(
        Object.entries(record).filter(([name]) => !/time|memory|tokens_per_second|mfu/.test(name)),
      ),
    );
  expect(withoutTimes(a)).toEqual(withoutTimes(b));
  const weights = (of: TemporaryFolder): Buffer => readFileSync(of.join('run/final/model.safetensors'));
  expect(weights(a).equals(weights(b))).toBe(true);
}

describe('sralign train', () => {
  it('leaves a run folder with a model that generates, and prints a result a program can read', async () => {
    using folder = new TemporaryFolder();
    const { code, stdout, stderr } = await sralign(['train', tinyConfig(folder), '--json']);
    expect(stderr).toContain('step 4/4');
    expect(code).toBe(0);
    const run = folder.join('run');
    const result = JSON.parse(stdout) as Record<string, unknown>;
    expect(result).toMatchObject({
      steps: 4,
      interrupted: false,
      runFolder: run,
      finalFolder: join(run, 'final'),
      intervals: { 'eval_rewards/accuracies': { pairs: 3, level: 0.95 } },
    });
    expect(stderr).toMatch(/^evaluation at step 4 .* accuracy [\d.]+ \(n 3, 95 %: [\d.]+-[\d.]+\)/m);
    expect(readFileSync(join(run, 'final/README.md'), 'utf8')).toMatch(
      /^\| eval_rewards\/accuracies \| [\d.]+ \(of 3 pairs; 95 % interval [\d.]+ to [\d.]+\) \|$/m,
    );
    expect(readdirSync(run)).toEqual(
      expect.arrayContaining(['config.yaml', 'metrics.jsonl', 'checkpoints', 'final']),
    );
    const steps = metricsOf(run);
    expect(steps.filter(record => 'loss' in record).map(record => record.step)).toEqual([1, 2, 3, 4]);
    expect(steps.filter(record => 'eval_loss' in record).map(record => record.step)).toEqual([0, 2, 4]);
    expect(steps[0]?.eval_loss).toBeCloseTo(Math.log(2), 5);

    const written = await sralign([
      'generate',
      join(run, 'final'),
      '--prompt',
      'Once upon',
      '--max-new-tokens',
      '8',
    ]);
    expect(written).toMatchObject({ code: 0, stderr: '' });
    expect(written.stdout).toMatch(/^Once upon.+\n$/s);
  });

  it('ends with all its files though the folder of the model is deleted after the first step', async () => {
    using folder = new TemporaryFolder();
    const model = folder.join('model');
    cpSync(MODEL, model, { recursive: true });
    const args = ['--set', `model.path=${model}`, '--set', 'training.maxSteps=12'];
    const { code, stderr } = await sralign(['train', tinyConfig(folder), ...args], undefined, child =>
      child.stderr!.on('data', (text: string) => {
        if (text.includes('step 1/')) rmSync(model, { recursive: true, force: true });
      }),
    );
    expect(stderr).toContain('step 12/12');
    expect(code).toBe(0);
    const companions = readdirSync(MODEL).filter(name => name !== 'README.md');
    expect(readdirSync(folder.join('run/final'))).toEqual(
      expect.arrayContaining([...companions, 'README.md']),
    );
    expect(existsSync(model)).toBe(false);
  });

  it('leaves to the umask who may read what it writes', async () => {
    using folder = new TemporaryFolder();
    const { code } = await runCommand(
      'sh',
      ['-c', 'umask 077; exec "$0" "$@"', process.execPath, MAIN, 'train', tinyConfig(folder)],
      ROOT,
    );
    expect(code).toBe(0);
    for (const entry of readdirSync(folder.join('run'), { recursive: true, withFileTypes: true })) {
      const { mode } = statSync(join(entry.parentPath, entry.name));
      expect([entry.name, mode & 0o077]).toEqual([entry.name, 0]);
    }
  });

  it('takes settings from --set and writes a line per logged step where there is no terminal', async () => {
    using folder = new TemporaryFolder();
    const set = [
      'method=dpo',
      'training.maxSteps=4',
      'logging.everySteps=2',
      'data.eval=[]',
      'evaluation.everySteps=null',
    ];
    const args = set.flatMap(assignment => ['--set', assignment]);
    const { code, stdout, stderr } = await sralign(['train', tinyConfig(folder), ...args]);
    expect(code).toBe(0);
    expect(lines(stderr).filter(line => line.startsWith('step '))).toHaveLength(2);
    expect(stderr).not.toContain('\u001b');
    expect(stdout).toContain(`Run:   ${folder.join('run')}`);
    // Of the 4 pairs of the last step.
    expect(stdout).toMatch(/^rewards\/accuracies +[\d.]+ \(n 4, 95 %: [\d.]+-[\d.]+\)$/m);
    expect(readFileSync(folder.join('run/config.yaml'), 'utf8')).toMatch(/^method: dpo$/m);
  });

  it('saves on Ctrl-C, exits with 130, and goes on to the same numbers', async () => {
    using whole = new TemporaryFolder();
    const more = ['--set', 'training.maxSteps=12'];
    expect(await sralign(['train', tinyConfig(whole), ...more])).toMatchObject({ code: 0 });

    using parted = new TemporaryFolder();
    const config = tinyConfig(parted);
    const stopped = await sralign(['train', config, ...more], undefined, child => {
      child.stderr!.on('data', (text: string) => {
        if (text.includes('step 2/12')) child.kill('SIGINT');
      });
    });
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toContain('SIGINT: saving a checkpoint');
    expect(stopped.stdout).toContain('Go on with --resume');
    expect(existsSync(parted.join('run/final'))).toBe(false);
    expect(readdirSync(parted.join('run/checkpoints'))).toHaveLength(1);

    const resumed = await sralign(['train', config, ...more, '--resume']);
    expect(resumed.stderr).toMatch(/resumed from step \d+/);
    expect(resumed.code).toBe(0);
    expectSameRun(parted, whole);

    const again = await sralign(['train', config, ...more, '--resume']);
    expect(again).toMatchObject({ code: 0, stdout: resumed.stdout });
    expect(again.stderr).toBe('nothing to do: this run was finished at step 12\n');
  });

  it('starts from the beginning when there is nothing to resume, and says so', async () => {
    using folder = new TemporaryFolder();
    const args = ['train', tinyConfig(folder), '--set', 'training.maxSteps=1', '--resume', '--json'];
    const started = await sralign(args);
    expect(started.code).toBe(0);
    expect(started.stderr).toContain('no checkpoint to resume from: starting from the beginning\n');
    expect(await sralign(args)).toMatchObject({ code: 0, stdout: started.stdout });
  });

  it('goes on to the same numbers after being killed, twice', async () => {
    using whole = new TemporaryFolder();
    const more = ['--set', 'training.maxSteps=12', '--set', 'checkpoint.everySteps=2'];
    expect(await sralign(['train', tinyConfig(whole), ...more])).toMatchObject({ code: 0 });

    using killed = new TemporaryFolder();
    const config = tinyConfig(killed);
    const killAt = (step: number, ...resume: string[]): Promise<unknown> =>
      sralign(['train', config, ...more, ...resume], undefined, child => {
        child.stderr!.on('data', (text: string) => {
          if (text.includes(`step ${step}/12`)) child.kill('SIGKILL');
        });
      });
    expect(await killAt(5)).toMatchObject({ code: null });
    expect(await killAt(10, '--resume')).toMatchObject({ code: null });
    expect(await sralign(['train', config, ...more, '--resume'])).toMatchObject({ code: 0 });
    expectSameRun(killed, whole);
  });

  it('refuses a folder that holds a run, and replaces it when told to', async () => {
    using folder = new TemporaryFolder();
    const config = tinyConfig(folder);
    const short = [
      '--set',
      'training.maxSteps=1',
      '--set',
      'data.eval=[]',
      '--set',
      'evaluation.everySteps=null',
    ];
    expect(await sralign(['train', config, ...short])).toMatchObject({ code: 0 });
    const before = readFileSync(folder.join('run/metrics.jsonl'), 'utf8');
    const refused = await sralign(['train', config, ...short]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain(folder.join('run'));
    expect(refused.stderr).toMatch(/--resume.*--overwrite/);
    expect(readFileSync(folder.join('run/metrics.jsonl'), 'utf8')).toBe(before);
    expect(await sralign(['train', config, ...short, '--overwrite'])).toMatchObject({ code: 0 });
  });
});
