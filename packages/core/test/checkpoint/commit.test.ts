import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { removeFolder, writeFolder } from '../../src/checkpoint/commit.js';
import {
  checkpointFolder,
  createRunFolder,
  latestCheckpoint,
  listCheckpoints,
} from '../../src/checkpoint/run-folder.js';
import { RunError } from '../../src/errors.js';
import { temporaryFolder } from '../support.js';
import { writeProgram } from './program.js';

describe('writeFolder', () => {
  it('replaces an older folder as a whole', async () => {
    await using folder = await temporaryFolder();
    const final = join(folder.path, 'run', 'final');
    await writeFolder(final, temporary => writeFile(join(temporary, 'old'), ''));
    await writeFolder(final, async temporary => {
      expect(await readdir(final)).toEqual(['old']);
      await mkdir(join(temporary, 'deep'));
      await writeFile(join(temporary, 'deep', 'new'), '');
    });
    expect(await readdir(final, { recursive: true })).toEqual(['deep', 'deep/new']);
    expect(await readdir(dirname(final))).toEqual(['final']);
  });

  it('keeps the older folder, and nothing else, when the writer fails', async () => {
    await using folder = await temporaryFolder();
    const final = join(folder.path, 'final');
    await writeFolder(final, temporary => writeFile(join(temporary, 'old'), ''));
    const failing = writeFolder(final, async temporary => {
      await writeFile(join(temporary, 'half'), '');
      throw new TypeError('stop');
    });
    await expect(failing).rejects.toThrow(TypeError);
    expect(await readdir(folder.path, { recursive: true })).toEqual(['final', 'final/old']);
  });

  it('says which folder the disk refuses', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'file'), '');
    const refused = writeFolder(join(folder.path, 'file', 'final'), async () => {});
    await expect(refused).rejects.toThrow(RunError);
    await expect(refused).rejects.toThrow(/file\/final: It cannot be written \(ENOTDIR/);
  });
});

describe('removeFolder', () => {
  it('deletes a folder, or finds that it is gone', async () => {
    await using folder = await temporaryFolder();
    const old = join(folder.path, 'old');
    await mkdir(join(old, 'deep'), { recursive: true });
    await removeFolder(old);
    await removeFolder(old);
    expect(await readdir(folder.path)).toEqual([]);
  });
});

const FILES = 5;
const FILE_BYTES = 200_000;

/** Writes checkpoints one after another, keeping two; pauses within one if told to. */
const WRITER = `
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFolder } from './checkpoint/commit.js';
import { checkpointFolder, latestCheckpoint, pruneCheckpoints } from './checkpoint/run-folder.js';

const [run, pauseAt] = process.argv.slice(2);
for (let step = ((await latestCheckpoint(run))?.step ?? 0) + 1; ; step++) {
  await writeFolder(checkpointFolder(run, step), async temporary => {
    for (let i = 0; i < ${FILES}; i++) {
      await writeFile(join(temporary, 'part' + i), Buffer.alloc(${FILE_BYTES}, step));
      if (String(step) !== pauseAt || i !== 2) continue;
      console.log('paused');
      await new Promise(resolve => setTimeout(resolve, 60_000));
    }
  });
  await pruneCheckpoints(run, 2, null, { exchange: value => [value] });
  console.log('wrote', step);
}
`;

/** Waits until the writer says `text`; its output stays open, so that it does not end by itself. */
function untilItSays(writer: ChildProcess, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    writer.stdout!.on('data', chunk => String(chunk).includes(text) && resolve());
    writer.once('exit', () => reject(new Error(`The writer ended without saying "${text}".`)));
  });
}

async function kill(writer: ChildProcess): Promise<void> {
  const exit = once(writer, 'exit');
  writer.kill('SIGKILL');
  expect(await exit).toEqual([null, 'SIGKILL']);
}

async function expectComplete(run: string): Promise<void> {
  for (const { step, folder } of await listCheckpoints(run)) {
    expect((await readdir(folder)).sort()).toEqual(Array.from({ length: FILES }, (_, i) => `part${i}`));
    for (const name of await readdir(folder)) {
      expect((await readFile(join(folder, name))).equals(Buffer.alloc(FILE_BYTES, step))).toBe(true);
    }
  }
}

const resume = (run: string): Promise<void> => createRunFolder(run, { overwrite: false }, 0);

describe('a writer of checkpoints killed by SIGKILL', () => {
  it('in the middle of one leaves the one before it', async () => {
    await using folder = await temporaryFolder();
    const program = await writeProgram(join(folder.path, 'program'), WRITER);
    const run = join(folder.path, 'run');
    const writer = spawn(process.execPath, [program, run, '2'], { stdio: ['ignore', 'pipe', 'inherit'] });
    await untilItSays(writer, 'paused');
    await kill(writer);
    const checkpoints = join(run, 'checkpoints');
    const [leftover, ...rest] = (await readdir(checkpoints)).sort();
    expect(leftover).toMatch(new RegExp(`^\\.tmp-step-000002-${writer.pid}\\d+$`));
    expect(rest).toEqual(['step-000001']);
    expect(await readdir(join(checkpoints, leftover!))).toHaveLength(3);
    expect(await latestCheckpoint(run)).toEqual({ step: 1, folder: checkpointFolder(run, 1) });
    await expectComplete(run);
    await resume(run);
    expect(await readdir(checkpoints)).toEqual(['step-000001']);
  });

  it('at any moment leaves complete ones only, and the next start goes on', async () => {
    await using folder = await temporaryFolder();
    const program = await writeProgram(join(folder.path, 'program'), WRITER);
    const run = join(folder.path, 'run');
    let before = 0;
    for (let round = 0; round < 8; round++) {
      const writer = spawn(process.execPath, [program, run], { stdio: ['ignore', 'pipe', 'inherit'] });
      await untilItSays(writer, 'wrote');
      await new Promise(resolve => setTimeout(resolve, 7 * round));
      await kill(writer);
      await expectComplete(run);
      const { step } = (await latestCheckpoint(run))!;
      expect(step).toBeGreaterThan(before);
      before = step;
      await resume(run);
      const names = await readdir(join(run, 'checkpoints'));
      expect(names.every(name => name.startsWith('step-'))).toBe(true);
    }
  });
});
