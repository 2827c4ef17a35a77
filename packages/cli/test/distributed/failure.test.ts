/** When one rank cannot go on, all of them end, and one message says which rank, where and why. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lines, MAIN, type Outcome, ROOT, TemporaryFolder } from '../run.js';
import { tinyConfig } from '../tiny.js';
import { hasMpi, onceOnStderr, rankProcesses, runProgram, trainOnRanks } from './ranks.js';

/** What the issue of a failure may take. */
const LIMIT_MS = 30_000;

const messagesOf = ({ stderr }: Outcome): string[] =>
  lines(stderr).filter(line => /^sralign: |mpirun noticed/.test(line));

describe.skipIf(!hasMpi)('3 ranks', () => {
  let folder: TemporaryFolder;
  let config: string;
  beforeAll(() => {
    folder = new TemporaryFolder();
    config = tinyConfig(folder);
  });
  afterAll(() => folder[Symbol.dispose]());

  const run = (name: string): string[] => [
    ...['--set', `output.folder=${folder.join(name)}`, '--set', 'training.maxSteps=400'],
    ...[
      '--set',
      'checkpoint.everySteps=2',
      '--set',
      'training.epochs=100',
      '--set',
      'evaluation.everySteps=null',
    ],
  ];

  /** Trains until step 3, does something to rank 1, and waits for the end. */
  async function disturb(
    name: string,
    signal: NodeJS.Signals,
  ): Promise<{ outcome: Outcome; endedMs: number }> {
    let startMs = 0;
    const outcome = await trainOnRanks(3, config, run(name), child =>
      onceOnStderr(child, 'step 3/400', () => {
        startMs = performance.now();
        process.kill(rankProcesses(child.pid!)[1]!, signal);
      }),
    );
    return { outcome, endedMs: performance.now() - startMs };
  }

  /** Its step. */
  const lastCheckpoint = (name: string): number =>
    Math.max(
      ...readdirSync(folder.join(name, 'checkpoints')).flatMap(entry =>
        /^step-\d+$/.test(entry) ? [Number(entry.slice('step-'.length))] : [],
      ),
    );

  it('end when one is killed, and go on from the last checkpoint', async () => {
    const { outcome, endedMs } = await disturb('killed', 'SIGKILL');
    expect(outcome.code).not.toBe(0);
    expect(endedMs).toBeLessThan(LIMIT_MS);
    const messages = messagesOf(outcome);
    expect(messages, outcome.stderr).toHaveLength(1);
    expect(messages[0]).toMatch(/rank 1\b/);
    expect(messages[0]).toContain(hostname());
    expect(messages[0]).toMatch(/killed/i);
    const last = lastCheckpoint('killed');
    expect(last % 2).toBe(0);
    const args = [...run('killed'), '--set', `training.maxSteps=${last + 2}`, '--resume'];
    const resumed = await trainOnRanks(3, config, args);
    expect(resumed.stderr).toMatch(new RegExp(`resumed from step ${last}\\b`));
    expect(resumed.code).toBe(0);
  }, 120_000);

  it('end when one hangs', async () => {
    const { outcome, endedMs } = await disturb('stopped', 'SIGSTOP');
    expect(outcome.code).not.toBe(0);
    expect(endedMs).toBeLessThan(LIMIT_MS);
    expect(messagesOf(outcome), outcome.stderr).toHaveLength(1);
    expect(messagesOf(outcome)[0]).toMatch(/rank 1 on .* has not been heard from for 10 s/);
  }, 120_000);

  it('end when the loss of one is not finite, and name the pair', async () => {
    const wild = ['--set', 'optimizer.learningRate=1e30', '--set', `output.folder=${folder.join('wild')}`];
    const outcome = await trainOnRanks(3, config, [...run('wild'), ...wild]);
    expect(outcome.code).toBe(1);
    expect(messagesOf(outcome), outcome.stderr).toHaveLength(1);
    expect(messagesOf(outcome)[0]).toMatch(/Step \d+: The (loss of the pair .*harmless|gradient norm)/);
  }, 60_000);

  /** Starts a shell command on every rank, in which $RANK is its number. */
  const onEveryRank = (command: string): Promise<Outcome> =>
    runProgram(3, ['sh', '-c', `RANK=$OMPI_COMM_WORLD_RANK; ${command}`], folder.path);

  it('are told when their configurations differ', async () => {
    const different = `${process.execPath} ${MAIN} train ${config} --set loss.beta=0.$BETA`;
    const outcome = await onEveryRank(
      `BETA=$((RANK / 2 + 1)); unset RANK; ${different} --set output.folder=${folder.join('beta')}`,
    );
    expect(outcome.code).not.toBe(0);
    expect(messagesOf(outcome), outcome.stderr).toHaveLength(1);
    expect(messagesOf(outcome)[0]).toMatch(
      /disagree about loss\.beta: it is 0\.1 on rank 0 .*0\.2 on rank 2/,
    );
  }, 60_000);

  it('are told when their data differ, and when one has none', async () => {
    const data = readFileSync(`${ROOT}/examples/data/hh-rlhf/harmless-base.train.jsonl.gz`);
    for (const rank of [0, 1, 2]) mkdirSync(folder.join(`cwd-${rank}`), { recursive: true });
    const train = (run: string): Promise<Outcome> =>
      onEveryRank(
        `cd cwd-$RANK; unset RANK; ${process.execPath} ${MAIN} train ${config} --set data.train=data.jsonl.gz ` +
          `--set output.folder=${folder.join(run)}`,
      );
    for (const rank of [0, 1]) writeFileSync(folder.join(`cwd-${rank}`, 'data.jsonl.gz'), data);
    const missing = await train('missing');
    expect(messagesOf(missing), missing.stderr).toHaveLength(1);
    expect(messagesOf(missing)[0]).toMatch(/rank 2 on .*data\.jsonl\.gz/);

    const shorter = `gzip -dc data.jsonl.gz | head -20 | gzip`;
    execFileSync('sh', ['-c', `${shorter} > ../cwd-2/data.jsonl.gz`], { cwd: folder.join('cwd-0') });
    const different = await train('different');
    expect(messagesOf(different), different.stderr).toHaveLength(1);
    expect(messagesOf(different)[0]).toMatch(/disagree about the training data .* on rank 0 .* on rank 2/);
  }, 60_000);
});
