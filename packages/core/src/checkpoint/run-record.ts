/**
 * What a run has written, as far as it may be deleted for another run: `.sralign/` in its folder.
 *
 *   run.json            that this is a run of sralign, and since when
 *   files-00000.jsonl   the files of rank 0, one path a line, each before the file gets its name
 *   lock                who writes (run-lock.ts)
 *
 * Hosts may share the folder or not; every rank has a file of its own, so that no two write into one.
 */
import { mkdir, open, readdir, readFile, realpath, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, normalize, relative, sep } from 'node:path';
import { CheckpointError } from '../errors.js';
import { diskError, look, systemErrorCode, TEMPORARY_NAME, writeFileAtomic } from '../files.js';
import { VERSION } from '../version.js';

export const RUN_RECORD_FOLDER = '.sralign';

const RUN_FILE = 'run.json';
const FORMAT = 1;
const FILES = /^files-\d+\.jsonl$/;

/** Paths relative to the folder of the run; of a folder, which ends in `/`, everything in it. */
export type RunRecord = ReadonlySet<string>;

/** Starts the record of a run, or goes on with one that is there. @throws RunError when the disk refuses */
export async function startRecord(runFolder: string): Promise<void> {
  const file = join(runFolder, RUN_RECORD_FOLDER, RUN_FILE);
  if ((await look(file, CheckpointError)) !== null) return;
  await mkdir(dirname(file), { recursive: true });
  const facts = { format: FORMAT, sralign: VERSION, startedAt: new Date().toISOString() };
  await writeFileAtomic(file, `${JSON.stringify(facts, null, 2)}\n`);
}

/**
 * Adds what a rank is about to write.
 *
 * @param paths relative to `runFolder`
 * @throws RunError when the disk refuses
 */
export async function recordFiles(runFolder: string, rank: number, paths: readonly string[]): Promise<void> {
  const folder = join(runFolder, RUN_RECORD_FOLDER);
  const file = join(folder, `files-${String(rank).padStart(5, '0')}.jsonl`);
  try {
    await mkdir(folder, { recursive: true });
    await using handle = await open(file, 'a');
    // A line of its own, whatever a killed writer has left of the one before.
    await handle.writeFile(`\n${paths.map(path => JSON.stringify(path)).join('\n')}\n`);
    await handle.sync();
  } catch (error) {
    throw diskError(error, file);
  }
}

/**
 * Adds the files of a folder that is about to get its name.
 *
 * @param temporary where they are now, those that other ranks are still writing aside
 * @throws RunError when the disk refuses
 */
export async function recordFolder(
  runFolder: string,
  rank: number,
  folder: string,
  temporary: string,
): Promise<void> {
  const names = (await readdir(temporary)).filter(name => !TEMPORARY_NAME.test(name));
  if (names.length === 0) return;
  const place = relative(runFolder, folder);
  await recordFiles(
    runFolder,
    rank,
    names.map(name => join(place, name)),
  );
}

/** What the run in a folder has written; null where no run of sralign has left a record. @throws CheckpointError */
export async function readRecord(runFolder: string): Promise<RunRecord | null> {
  const folder = join(runFolder, RUN_RECORD_FOLDER);
  if ((await look(join(folder, RUN_FILE), CheckpointError)) === null) return null;
  const paths = new Set<string>();
  for (const name of (await readdir(folder)).filter(name => FILES.test(name))) {
    for (const line of (await readFile(join(folder, name), 'utf8')).split('\n')) {
      const path = parsePath(line);
      if (path !== null) paths.add(path);
    }
  }
  return paths;
}

/** A path inside the folder; null for what a killed writer left, and for what no run writes. */
function parsePath(line: string): string | null {
  try {
    const path: unknown = JSON.parse(line);
    if (typeof path !== 'string' || path === '' || path.includes('\0')) return null;
    const parts = path.split(sep);
    return normalize(path) === path && !path.startsWith(sep) && parts[0] !== '..' && parts[0] !== '.'
      ? path
      : null;
  } catch {
    return null;
  }
}

/** The files of a record that are there, each where its path says and not behind a link to another folder. */
async function presentFiles(runFolder: string, record: RunRecord): Promise<string[]> {
  const root = await realpath(runFolder);
  const places = new Map<string, boolean>();
  const present: string[] = [];
  for (const path of record) {
    const place = dirname(path);
    if (!places.has(place)) {
      const real = await realpath(join(root, place)).catch(() => null);
      places.set(place, real === join(root, place));
    }
    if (places.get(place)) present.push(path);
  }
  return present;
}

/** Bytes on the disk that deleting a run would free. */
export async function recordedBytes(runFolder: string, record: RunRecord): Promise<number> {
  let bytes = 0;
  for (const path of await presentFiles(runFolder, record)) {
    const found = await stat(join(runFolder, path)).catch(() => null);
    if (found?.isFile() && found.nlink === 1) bytes += found.blocks * 512;
  }
  return bytes;
}

/**
 * Deletes what a record says and nothing else; folders go when they are empty. config.yaml goes first, so that a run that
 * is half deleted is not taken for whole, and the record last.
 */
export async function deleteRecorded(runFolder: string, record: RunRecord): Promise<void> {
  const paths = await presentFiles(runFolder, record);
  paths.sort((a, b) => Number(b === 'config.yaml') - Number(a === 'config.yaml'));
  const folders = new Set<string>();
  for (const path of paths) {
    // Without the slash, with which a link would be followed.
    await rm(join(runFolder, path.replace(/\/$/, '')), { force: true, recursive: path.endsWith(sep) });
    for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) folders.add(folder);
  }
  for (const folder of [...folders].sort((a, b) => b.length - a.length)) {
    await rmdir(join(runFolder, folder)).catch(error => {
      if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(systemErrorCode(error) ?? '')) throw error;
    });
  }
  const recordFolder = join(runFolder, RUN_RECORD_FOLDER);
  for (const name of await readdir(recordFolder)) {
    if (FILES.test(name)) await rm(join(recordFolder, name), { force: true });
  }
  await rm(join(recordFolder, RUN_FILE), { force: true });
}
