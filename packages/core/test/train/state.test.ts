import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { CheckpointError } from '../../src/errors.js';
import { readTrainerState } from '../../src/train/state.js';
import { temporaryFolder } from '../support.js';

it('refuses an epoch that nobody reaches, instead of going there', async () => {
  await using folder = await temporaryFolder();
  const state = { step: 3, keepBest: null, best: null, evaluationsSinceBest: 0 };
  const write = (epoch: number): Promise<void> =>
    writeFile(
      join(folder.path, 'trainer-state.json'),
      JSON.stringify({ ...state, sampler: { epoch, position: 0 } }),
    );
  await write(1);
  expect(await readTrainerState(folder.path)).toMatchObject({ step: 3, sampler: { epoch: 1, position: 0 } });
  await write(Number.MAX_SAFE_INTEGER);
  await expect(readTrainerState(folder.path)).rejects.toThrow(CheckpointError);
});
