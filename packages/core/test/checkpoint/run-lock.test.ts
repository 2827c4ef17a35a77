import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lockRunFolder, newJobName } from '../../src/checkpoint/run-lock.js';
import { startRecord } from '../../src/checkpoint/run-record.js';
import { CheckpointError } from '../../src/errors.js';
import { temporaryFolder } from '../support.js';

const lockOf = (run: string): string => join(run, '.sralign', 'lock');

async function writeHolder(run: string, holder: object): Promise<void> {
  await mkdir(join(run, '.sralign'), { recursive: true });
  const some = { job: 'old', pid: 1, host: hostname(), boot: 'b', startedAt: '2026-01-02T03:04:05.000Z' };
  await writeFile(lockOf(run), `${JSON.stringify({ ...some, ...holder })}\n`);
}

describe('lockRunFolder', () => {
  it('is refused in one line while another job has it, with process, host and start', async () => {
    await using folder = await temporaryFolder();
    const lock = await lockRunFolder(folder.path, newJobName());
    const refused = lockRunFolder(folder.path, newJobName());
    await expect(refused).rejects.toThrow(CheckpointError);
    await expect(refused).rejects.toThrow(
      new RegExp(
        `Another run is writing into this folder: process ${process.pid} on ${hostname()}, which started at \\d{4}-.*Z\\.`,
      ),
    );
    await lock.release();
    await (await lockRunFolder(folder.path, newJobName())).release();
  });

  it('is shared by the ranks of a job, and kept until the one that took it gives it back', async () => {
    await using folder = await temporaryFolder();
    const job = newJobName();
    const [first, second] = [await lockRunFolder(folder.path, job), await lockRunFolder(folder.path, job)];
    await second.release();
    await expect(lockRunFolder(folder.path, newJobName())).rejects.toThrow(/Another run is writing/);
    await first.release();
    await (await lockRunFolder(folder.path, newJobName())).release();
  });

  it.each([
    ['on this host', hostname()],
    ['on another host, whose lock on this file system would be known', 'elsewhere'],
  ])('is taken over from a process %s that has ended without a word', async (_, host) => {
    await using folder = await temporaryFolder();
    await writeHolder(folder.path, { host });
    const lock = await lockRunFolder(folder.path, newJobName());
    expect(JSON.parse(await readFile(lockOf(folder.path), 'utf8'))).toMatchObject({
      pid: process.pid,
      host: hostname(),
    });
    await lock.release();
  });

  it('leaves a folder as it was where no run was written, and its record where one was', async () => {
    await using folder = await temporaryFolder();
    const run = join(folder.path, 'deep', 'run');
    await (await lockRunFolder(run, newJobName())).release();
    expect(await readdir(folder.path)).toEqual([]);

    await mkdir(run, { recursive: true });
    await writeFile(join(run, 'mine.txt'), '');
    await (await lockRunFolder(run, newJobName())).release();
    expect(await readdir(run)).toEqual(['mine.txt']);

    const lock = await lockRunFolder(run, newJobName());
    await startRecord(run);
    await lock.release();
    expect((await readdir(join(run, '.sralign'))).sort()).toEqual(['lock', 'run.json']);
    expect(await readFile(lockOf(run), 'utf8')).toBe('');
  });

  it('does not trust a lock on a file that was removed', async () => {
    await using folder = await temporaryFolder();
    const lock = await lockRunFolder(folder.path, newJobName());
    await rm(lockOf(folder.path));
    const other = await lockRunFolder(folder.path, newJobName());
    await lock.release();
    expect(existsSync(lockOf(folder.path))).toBe(true);
    await expect(lockRunFolder(folder.path, newJobName())).rejects.toThrow(/Another run is writing/);
    await other.release();
  });

  it('says so when the folder cannot be made', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'file'), '');
    await expect(lockRunFolder(join(folder.path, 'file', 'run'), newJobName())).rejects.toThrow(
      /cannot be used \(ENOTDIR.*Choose another output\.folder/,
    );
  });
});
