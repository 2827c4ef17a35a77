/** Checkpoints of several ranks: going on with as many, fewer or more of them, and making a model of one. */
import { cpSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hhLines, sralign, TemporaryFolder } from '../run.js';
import { tinyConfig } from '../tiny.js';
import { compareWeights } from '../weights.js';
import { hasMpi, onceOnStderr, trainOnRanks } from './ranks.js';

function flipByte(file: string): void {
  const bytes = readFileSync(file);
  bytes[bytes.length - 3]! ^= 1;
  writeFileSync(file, bytes);
}

const final = (run: string): string => join(run, 'final/model.safetensors');

describe.skipIf(!hasMpi)('a checkpoint of 3 ranks', () => {
  let folder: TemporaryFolder;
  let config: string;
  const run = (name: string): string => folder.join(name);
  const settings = (name: string, ...set: string[]): string[] =>
    [`output.folder=${run(name)}`, 'training.maxSteps=5', 'checkpoint.everySteps=2', ...set].flatMap(
      assignment => ['--set', assignment],
    );

  beforeAll(async () => {
    folder = new TemporaryFolder();
    config = tinyConfig(folder);
    expect(await trainOnRanks(3, config, settings('whole'))).toMatchObject({ code: 0 });
    expect(await trainOnRanks(3, config, settings('half', 'training.maxSteps=2'))).toMatchObject({ code: 0 });
  }, 120_000);
  afterAll(() => folder[Symbol.dispose]());

  it('has one file of every rank', () => {
    const checkpoint = join(run('half'), 'checkpoints/step-000002');
    expect(readdirSync(checkpoint).filter(name => name.startsWith('shard-'))).toEqual([
      'shard-00000-of-00003.safetensors',
      'shard-00001-of-00003.safetensors',
      'shard-00002-of-00003.safetensors',
    ]);
  });

  it.each([3, 1, 2, 4])(
    'goes on with %s ranks',
    async ranks => {
      const name = `resumed-${ranks}`;
      cpSync(run('half'), run(name), { recursive: true });
      expect(await trainOnRanks(ranks, config, [...settings(name), '--resume'])).toMatchObject({ code: 0 });
      if (ranks === 3)
        expect(readFileSync(final(run(name))).equals(readFileSync(final(run('whole'))))).toBe(true);
      else expect(compareWeights(final(run(name)), final(run('whole'))).relative).toBeLessThanOrEqual(1e-5);
    },
    60_000,
  );

  it('becomes a model, of the same bytes as the final one', async () => {
    const checkpoint = join(run('whole'), 'checkpoints/step-000005');
    expect(await sralign(['consolidate', checkpoint, run('model')])).toMatchObject({ code: 0 });
    const model = readFileSync(run('model/model.safetensors'));
    expect(model.equals(readFileSync(final(run('whole'))))).toBe(true);
    const written = await sralign(['generate', checkpoint, '--prompt', 'Once upon', '--max-new-tokens', '4']);
    expect(written).toMatchObject({ code: 0, stderr: '' });
  }, 60_000);

  const SHARD = (rank: number): string => `shard-0000${rank}-of-00003.safetensors`;
  const damages: [string, string, (checkpoint: string) => void][] = [
    ['a flipped bit in', SHARD(1), checkpoint => flipByte(join(checkpoint, SHARD(1)))],
    ['a flipped bit in', SHARD(2), checkpoint => flipByte(join(checkpoint, SHARD(2)))],
    ['the end cut off', SHARD(0), checkpoint => truncateSync(join(checkpoint, SHARD(0)), 9000)],
    ['no', SHARD(2), checkpoint => rmSync(join(checkpoint, SHARD(2)))],
    [
      'another rank in',
      SHARD(1),
      checkpoint => {
        renameSync(join(checkpoint, SHARD(1)), join(checkpoint, 'x'));
        renameSync(join(checkpoint, SHARD(2)), join(checkpoint, SHARD(1)));
        renameSync(join(checkpoint, 'x'), join(checkpoint, SHARD(2)));
      },
    ],
    ['a flipped bit in', 'shards.json', checkpoint => flipByte(join(checkpoint, 'shards.json'))],
    [
      'a flipped bit in',
      'trainer-state.json',
      checkpoint => flipByte(join(checkpoint, 'trainer-state.json')),
    ],
  ];
  it.each(damages)(
    'is refused with %s %s, on as many ranks as wrote and on fewer',
    async (_, name, damage) => {
      const damaged = `damaged-${damages.findIndex(([, , other]) => other === damage)}`;
      cpSync(run('half'), run(damaged), { recursive: true });
      const checkpoint = join(run(damaged), 'checkpoints/step-000002');
      damage(checkpoint);
      for (const ranks of [3, 2]) {
        const refused = await trainOnRanks(ranks, config, [...settings(damaged), '--resume']);
        expect(refused.code).toBe(2);
        expect(refused.stderr).toContain(`${join(checkpoint, name)}: This file of the checkpoint is`);
        expect(refused.stderr).toContain('There is no checkpoint before it.');
      }
    },
    60_000,
  );

  it('is refused with other data', async () => {
    const data = folder.write('pairs.jsonl', hhLines(12).join('\n'));
    const args = [
      ...settings('data', `data.train=${data}`, 'data.maxTrainPairs=null', 'training.maxSteps=2'),
    ];
    expect(await trainOnRanks(2, config, args)).toMatchObject({ code: 0 });
    folder.write('pairs.jsonl', hhLines(13).join('\n'));
    const refused = await trainOnRanks(2, config, [...args, '--set', 'training.maxSteps=3', '--resume']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/field "data\.train": .* 1 added\./);
  }, 60_000);

  it('is written when the job is asked to stop, and leads to the same bits', async () => {
    // Many steps, so that the request comes long before the end.
    const long = (name: string): string[] =>
      settings(name, 'training.maxSteps=100', 'training.epochs=10', 'checkpoint.everySteps=null');
    expect(await trainOnRanks(3, config, long('undisturbed'))).toMatchObject({ code: 0 });
    const args = long('stopped');
    const stopped = await trainOnRanks(3, config, args, child =>
      onceOnStderr(child, 'step 2/100', () => child.kill('SIGUSR2')),
    );
    expect(stopped.stdout).toContain('Go on with --resume');
    expect(readdirSync(run('stopped/checkpoints'))).toHaveLength(1);
    expect(await trainOnRanks(3, config, [...args, '--resume'])).toMatchObject({ code: 0 });
    expect(readFileSync(final(run('stopped'))).equals(readFileSync(final(run('undisturbed'))))).toBe(true);
  }, 120_000);
});
