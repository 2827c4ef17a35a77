/** The models in the folder of a run: `final/`, and `checkpoints/step-000100/` of every checkpoint. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemErrorCode } from '../files.js';

export const FINAL_FOLDER = 'final';
export const CHECKPOINTS_FOLDER = 'checkpoints';

/** The name of a checkpoint's folder. `checkpoint-123` is the name other trainers use: theirs are not ours to resume or to delete. */
export const CHECKPOINT_NAME = /^step-(\d{6,})$/;

export interface Checkpoint {
  /** Optimizer steps done. */
  readonly step: number;
  readonly folder: string;
}

/** Where the checkpoint of a step is: `<run>/checkpoints/step-000100`. */
export function checkpointFolder(runFolder: string, step: number): string {
  return join(runFolder, CHECKPOINTS_FOLDER, `step-${String(step).padStart(6, '0')}`);
}

/** The complete checkpoints of a run, oldest first; none where there is no such folder. @throws as readdir */
export async function listCheckpoints(runFolder: string): Promise<Checkpoint[]> {
  const parent = join(runFolder, CHECKPOINTS_FOLDER);
  const names = await readdir(parent).catch(error => {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  });
  return names
    .flatMap(name => {
      const match = CHECKPOINT_NAME.exec(name);
      return match === null ? [] : [{ step: Number(match[1]), folder: join(parent, name) }];
    })
    .sort((a, b) => a.step - b.step);
}
