/**
 * The lock of a run folder: one job at a time writes into it. It is a lock of the system (flock) on `.sralign/lock`, so it
 * ends with its process, however that ends; what stands in the file says whose it is. Where the file system keeps no locks,
 * or keeps those of each host apart, what stands in the file decides alone.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, open, readdir, readFile, realpath, rm, rmdir, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { lockFile } from '@sralign/native';
import { z } from 'zod';
import { CheckpointError } from '../errors.js';
import { makeFolder } from '../files.js';
import { RUN_RECORD_FOLDER } from './run-record.js';

const LOCK_FILE = 'lock';

const holderSchema = z.object({
  job: z.string(),
  pid: z.int(),
  host: z.string(),
  /** Of the kernel: a process of an earlier one is dead. */
  boot: z.string(),
  /** ISO 8601. */
  startedAt: z.string(),
});

/** Who has the lock. */
type Holder = z.infer<typeof holderSchema>;

export interface RunLock {
  /** Gives it back. A folder into which no run was written is left as it was found. */
  release(): Promise<void>;
}

/** What all ranks of a job call themselves. */
export const newJobName = (): string => randomUUID();

/**
 * Locks a run folder, which is created if missing. The ranks of one job may all ask: those who see the same folder share it.
 *
 * @throws CheckpointError naming process, host and start of the job that has it, or when the folder cannot be written
 */
export async function lockRunFolder(folder: string, job: string): Promise<RunLock> {
  const recordFolder = join(folder, RUN_RECORD_FOLDER);
  const file = join(recordFolder, LOCK_FILE);
  try {
    const created = makeFolder(recordFolder);
    for (;;) {
      const handle = await open(file, 'a+');
      const lock = lockFile(handle.fd);
      const holder = parseHolder((await handle.readFile()).toString('utf8'));
      if (holder?.job === job) {
        await handle.close();
        return { release: async () => {} };
      }
      if (lock === 'busy' || !(await isFree(holder, lock, folder))) {
        await handle.close();
        throw inUse(holder, folder, file);
      }
      if (await isStillThere(handle, file)) {
        await writeHolder(handle, job);
        return { release: () => release(handle, file, created) };
      }
      // Whoever had it before has removed the file between our opening and locking it.
      await handle.close();
    }
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    throw new CheckpointError(`The output folder cannot be used (${(error as Error).message}).`, {
      file: folder,
      field: 'output.folder',
      hint: 'Choose another output.folder, or change its permissions.',
      cause: error,
    });
  }
}

async function writeHolder(handle: FileHandle, job: string): Promise<void> {
  const holder: Holder = {
    job,
    pid: process.pid,
    host: hostname(),
    boot: await bootId(),
    startedAt: new Date().toISOString(),
  };
  await handle.truncate(0);
  await handle.write(`${JSON.stringify(holder)}\n`);
  await handle.sync();
}

async function release(handle: FileHandle, file: string, created: string | undefined): Promise<void> {
  await handle.truncate(0);
  const recordFolder = dirname(file);
  // With no record of a run beside it, the lock is all that there is.
  if (await isStillThere(handle, file)) await removeUnlessUsed(recordFolder, file);
  await handle.close();
  if (created === undefined) return;
  const first = resolve(created);
  for (let folder = dirname(recordFolder); folder.length >= first.length; folder = dirname(folder)) {
    if (
      !(await rmdir(folder)
        .then(() => true)
        .catch(() => false))
    )
      return;
  }
}

/** Removes the lock file, and the folder around it, where nothing else is in it. */
async function removeUnlessUsed(recordFolder: string, file: string): Promise<void> {
  const names = await readdir(recordFolder).catch(() => ['gone']);
  if (names.length !== 1) return;
  await rm(file, { force: true });
  await rmdir(recordFolder).catch(() => {});
}

function parseHolder(text: string): Holder | null {
  try {
    return holderSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

/** Whether the file that was opened still has its name. */
async function isStillThere(handle: FileHandle, file: string): Promise<boolean> {
  const [own, named] = [await handle.stat(), await stat(file).catch(() => null)];
  return own.ino === named?.ino && own.dev === named.dev;
}

/** Whether the job that a lock file names has ended, though it has not said so. */
async function isFree(holder: Holder | null, lock: 'held' | 'unsupported', folder: string): Promise<boolean> {
  if (holder === null) return true;
  if (lock === 'held' && (await locksReachAllWriters(folder))) return true;
  if (holder.host !== hostname()) return false;
  return holder.boot !== (await bootId()) || !isAlive(holder.pid);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

const bootId = (): Promise<string> =>
  readFile('/proc/sys/kernel/random/boot_id', 'utf8').then(
    text => text.trim(),
    () => '',
  );

/**
 * Whether the locks of a folder's file system are those of all hosts that can write into it: having the lock then proves
 * that nobody else has. File systems of one host are, and of several those that say so.
 */
async function locksReachAllWriters(folder: string): Promise<boolean> {
  const table = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  const path = await realpath(folder);
  let best = { point: '', type: '', options: '' };
  for (const line of table.split('\n')) {
    const [before, after] = line.split(' - ');
    const point = before?.split(' ')[4]?.replace(/\\040/g, ' ');
    if (point === undefined || after === undefined || point.length < best.point.length) continue;
    const inside = point === '/' || path === point || path.startsWith(`${point}/`);
    const [type, , options] = after.split(' ');
    if (inside) best = { point, type: type!, options: `,${options ?? ''},` };
  }
  if (/^nfs/.test(best.type)) return best.options.includes(',local_lock=none,');
  if (best.type === 'lustre') return best.options.includes(',flock,');
  return !/^(9p|afs|beegfs|cifs|fuse|glusterfs|smb|virtiofs)/.test(best.type);
}

function inUse(holder: Holder | null, folder: string, file: string): CheckpointError {
  const who =
    holder === null
      ? 'another process'
      : `process ${holder.pid} on ${printable(holder.host)}, which started at ${printable(holder.startedAt)}`;
  const here = holder === null || holder.host === hostname();
  return new CheckpointError(`Another run is writing into this folder: ${who}.`, {
    file: folder,
    field: 'output.folder',
    hint: here
      ? 'Wait for it or stop it, or choose another output.folder.'
      : `Wait for it or stop it; if that process has ended, delete ${file}.`,
  });
}

/** The file may have been written by anyone: no control characters on a terminal. */
const printable = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?').slice(0, 100);
