/**
 * `checksums.json`: what every file of a checkpoint was when it was written. A checkpoint is used only when all of it is
 * still so. The file is checked too: it holds a digest of its own list, and has exactly one spelling.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Communicator } from '@sralign/native';
import { z } from 'zod';
import { CheckpointError } from '../errors.js';
import { digestFile, type FileDigest, systemErrorCode, TEMPORARY_NAME, writeFileAtomic } from '../files.js';
import { listCheckpoints } from './run-folder.js';

export const CHECKSUMS_FILE = 'checksums.json';

/** By the name of the file. */
type Digests = Readonly<Record<string, FileDigest>>;

const schema = z.strictObject({
  files: z.record(z.string(), z.strictObject({ bytes: z.int().min(0), sha256: z.string() })),
  sha256: z.string(),
});

/**
 * Writes the checksums of a checkpoint that is otherwise complete. All ranks call it; the first writes.
 *
 * @param written digests of the files that this rank wrote, as far as they are known; the first rank reads its others
 * @throws RunError when the disk refuses
 */
export async function writeChecksums(
  folder: string,
  written: Digests,
  communicator: Pick<Communicator, 'rank' | 'exchange'>,
): Promise<void> {
  const files: Record<string, FileDigest> = Object.assign({}, ...communicator.exchange(written));
  if (communicator.rank > 0) return;
  for (const name of await fileNames(folder)) files[name] ??= await digestFile(join(folder, name));
  await writeFileAtomic(join(folder, CHECKSUMS_FILE), render(files));
}

function render(files: Digests): string {
  const sorted = Object.fromEntries(Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1)));
  const sha256 = createHash('sha256').update(JSON.stringify(sorted)).digest('hex');
  return `${JSON.stringify({ files: sorted, sha256 }, null, 2)}\n`;
}

const fileNames = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter(name => name !== CHECKSUMS_FILE && !TEMPORARY_NAME.test(name));

/**
 * Reads every file of a checkpoint and compares. The ranks call it together and share the work, so that each reads its own
 * shard where there are as many ranks as wrote.
 *
 * @throws CheckpointError on all ranks, naming the first file that is damaged or missing, and the checkpoint before
 */
export async function verifyCheckpoint(folder: string, communicator: Communicator): Promise<void> {
  const { rank, worldSize, hosts } = communicator;
  const first = rank === 0;
  const own = first ? await readChecksums(folder) : null;
  const [files] = communicator.exchange(own);
  let damage: Damage | null = files === null ? { name: CHECKSUMS_FILE, what: DAMAGED } : null;
  const shards = Object.keys(files ?? {}).filter(isShard);
  for (const [name, digest] of Object.entries(files ?? {})) {
    if (damage !== null) break;
    // The small files are on the host of the first rank only, where hosts share no file system.
    const mine = isShard(name)
      ? shards.indexOf(name) % worldSize === rank
      : hosts.indexOf(hosts[rank]!) === rank;
    if (!mine) continue;
    const what = await damageOf(join(folder, name), digest);
    if (what !== null && (what !== MISSING || first || isShard(name))) damage = { name, what };
  }
  if (first && files !== null) damage ??= await findStranger(folder, files!);
  const reports = communicator.exchange(damage).filter(report => report !== null);
  const found = reports.sort((a, b) => (a.name < b.name ? -1 : 1))[0];
  if (found === undefined) return;
  const before = communicator.exchange(first ? await checkpointBefore(folder) : null)[0]!;
  throw new CheckpointError(found.what, { file: join(folder, found.name), hint: before });
}

interface Damage {
  readonly name: string;
  readonly what: string;
}

const MISSING = 'This file of the checkpoint is missing.';
const DAMAGED = 'This file of the checkpoint is damaged: its bytes are not those that were written.';

const isShard = (name: string): boolean => /^shard-\d+-of-\d+\.safetensors$/.test(name);

/** Null where the file is missing or damaged. */
async function readChecksums(folder: string): Promise<Digests | null> {
  const file = join(folder, CHECKSUMS_FILE);
  const text = await readFile(file, 'utf8').catch(error => {
    if (systemErrorCode(error) === 'ENOENT') return '';
    throw new CheckpointError(`It cannot be read (${error.message}).`, { file, cause: error });
  });
  try {
    const { files } = schema.parse(JSON.parse(text));
    return render(files) === text ? files : null;
  } catch {
    return null;
  }
}

async function damageOf(file: string, { bytes, sha256 }: FileDigest): Promise<string | null> {
  try {
    const { size } = await stat(file);
    if (size !== bytes)
      return `This file of the checkpoint is damaged: it has ${size} bytes, not the ${bytes} that were written.`;
    return (await digestFile(file)).sha256 === sha256 ? null : DAMAGED;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    return code === 'ENOENT' ? MISSING : `It cannot be read (${(error as Error).message}).`;
  }
}

/** A file that would be read as part of the checkpoint, and is not. */
async function findStranger(folder: string, files: Digests): Promise<Damage | null> {
  const name = (await fileNames(folder)).find(
    name => !Object.hasOwn(files, name) && /\.(safetensors|json)$/.test(name),
  );
  return name === undefined ? null : { name, what: 'This file is not of the checkpoint.' };
}

/** What to do instead, as a hint. */
async function checkpointBefore(folder: string): Promise<string> {
  const checkpoints = await listCheckpoints(dirname(dirname(folder)));
  const at = checkpoints.findIndex(other => basename(other.folder) === basename(folder));
  const before = checkpoints[at - 1];
  return before === undefined
    ? `There is no checkpoint before it. Delete ${folder}, and --resume starts from the beginning.`
    : `Delete ${folder}, and --resume goes on from ${basename(before.folder)}, the checkpoint before it.`;
}
