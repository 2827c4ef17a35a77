/** Before the first step: whether everything that the run will save can be written. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { Communicator } from '@sralign/native';
import { freeDiskBytes, type PlannedFile, rehearseFolder } from '../checkpoint/rehearsal.js';
import { readRecord, recordedBytes } from '../checkpoint/run-record.js';
import { isHostLeader } from '../comm/turns.js';
import type { Config } from '../config/schema.js';
import { CheckpointError, RunError } from '../errors.js';
import type { Companions } from '../hf/folder.js';
import type { CausalLM } from '../model/causal-lm.js';
import { checkpointFiles, finalFiles } from './save-plan.js';

/**
 * Creates and removes every file of a checkpoint and of final/, and compares the free space with all that the run keeps at
 * once. All ranks call it, each for its own files; one rank of a host counts those of the host.
 *
 * @param freeBytes of the disk of a folder
 * @throws CheckpointError when the space does not suffice, RunError when the disk refuses; both name the folder, the bytes
 *   that are needed and those that are free
 */
export async function rehearseSaves(
  config: Config,
  model: CausalLM,
  companions: Companions,
  communicator: Communicator,
  freeBytes: (folder: string) => Promise<number> = freeDiskBytes,
): Promise<void> {
  const { folder } = config.output;
  const { rank, hosts } = communicator;
  const checkpoint = checkpointFiles(model, config.optimizer.name, companions);
  const final = rank === 0 ? finalFiles(model, companions) : [];
  const sizes = communicator.exchange({ checkpoint: bytesOf(checkpoint), final: bytesOf(final) });
  const ofHost = sizes.filter((_, other) => hosts[other] === hosts[rank]);
  const sum = (part: 'checkpoint' | 'final'): number => ofHost.reduce((bytes, size) => bytes + size[part], 0);
  const need = {
    checkpointBytes: sum('checkpoint'),
    finalBytes: sum('final'),
    checkpoints: keptAtOnce(config),
  };
  const neededBytes = need.checkpoints * need.checkpointBytes + need.finalBytes;

  const free = await freeBytes(folder);
  const record = await readRecord(folder);
  // What the run in the folder has written makes room for what replaces it.
  const reclaimedBytes = record === null ? 0 : await recordedBytes(folder, record);
  if (isHostLeader(communicator) && free + reclaimedBytes < neededBytes) {
    throw new CheckpointError(`${describe(need, neededBytes)} ${inBytes(free + reclaimedBytes)} are free.`, {
      file: folder,
      field: 'output.folder',
      hint: 'Free space on the disk, lower checkpoint.keepLast, or choose another output.folder.',
    });
  }
  communicator.exchange(null);
  const rehearse = async (
    parent: string,
    files: readonly PlannedFile[],
    hostBytes: number,
  ): Promise<void> => {
    try {
      await rehearseFolder(parent, files, hostBytes <= free);
    } catch (error) {
      if (!(error instanceof RunError)) throw error;
      throw new RunError(`${error.message} ${describe(need, neededBytes)} ${inBytes(free)} were free.`, {
        cause: error,
      });
    }
  };
  await rehearse(await checkpointsParent(folder), checkpoint, need.checkpointBytes);
  communicator.exchange(null);
  await rehearse(folder, final, need.finalBytes);
  communicator.exchange(null);
}

/** Checkpoints that are there at once: those that are kept, the best, and the one that is being written. */
function keptAtOnce({ checkpoint: { keepLast, keepBest } }: Config): number {
  // How many `all` will be nobody knows.
  return (keepLast === 'all' ? 1 : keepLast) + (keepBest === null ? 0 : 1) + 1;
}

/** `checkpoints` may be a link to another disk. */
async function checkpointsParent(runFolder: string): Promise<string> {
  const folder = join(runFolder, 'checkpoints');
  return access(folder).then(
    () => folder,
    () => runFolder,
  );
}

function describe(
  need: { checkpoints: number; checkpointBytes: number; finalBytes: number },
  neededBytes: number,
): string {
  return (
    `The run needs ${inBytes(neededBytes)} there, for ${need.checkpoints} checkpoints of ${inBytes(need.checkpointBytes)} ` +
    `and a final model of ${inBytes(need.finalBytes)};`
  );
}

const inBytes = (bytes: number): string =>
  bytes < 2 ** 20 ? `${bytes} bytes` : `${bytes} bytes (${(bytes / 2 ** 30).toFixed(2)} GiB)`;

const bytesOf = (files: readonly PlannedFile[]): number => files.reduce((sum, { bytes }) => sum + bytes, 0);
