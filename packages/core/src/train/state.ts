/**
 * Training checkpoints: a Hugging Face folder (weights in f32) with the optimizer's tensors and the position of the run
 * beside it. Resuming from one continues bit for bit, at the same number of threads.
 */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { parseConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import type { SamplerState } from '../data/sampler.js';
import { CheckpointError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { readJsonFile } from '../hf/folder.js';
import { readSafetensorsHeader } from '../hf/safetensors.js';
import { writeSafetensors } from '../hf/safetensors-writer.js';
import type { CausalLM } from '../model/causal-lm.js';
import { fillFromEntry } from '../model/load.js';
import { saveModel } from '../model/save.js';
import type { Optimizer } from '../optim/optimizer.js';
import type { Sources } from './prepare.js';

const OPTIMIZER_FILE = 'optimizer.safetensors';
const STATE_FILE = 'trainer-state.json';

export interface TrainerState {
  /** Updates done. */
  readonly step: number;
  readonly sampler: SamplerState;
}

const stateSchema = z.strictObject({
  step: z.int().min(0),
  sampler: z.strictObject({ epoch: z.int().min(0), position: z.int().min(0) }),
});

/** Writes weights, optimizer and position into `folder`. */
export async function saveTrainerState(
  folder: string,
  model: CausalLM,
  optimizer: Optimizer,
  state: TrainerState,
  sources: Sources,
): Promise<void> {
  await saveModel(model, folder, sources.modelFolder, sources.tokenizerFolder);
  const tensors = [...optimizer.state()].map(({ name, tensor }) => ({
    name,
    dtype: 'F32' as const,
    shape: tensor.shape,
    bytes: () => tensor.readBytes(),
  }));
  await writeSafetensors(join(folder, OPTIMIZER_FILE), tensors);
  await writeFileAtomic(join(folder, STATE_FILE), `${JSON.stringify(state, null, 2)}\n`);
}

/**
 * Reads the position of a checkpoint.
 *
 * @throws CheckpointError when the file is damaged
 */
export async function readTrainerState(folder: string): Promise<TrainerState> {
  const file = join(folder, STATE_FILE);
  const parsed = stateSchema.safeParse(await readJsonFile(file));
  if (parsed.success) return parsed.data;
  throw new CheckpointError('The state of this checkpoint cannot be read.', {
    file,
    hint: 'Delete this checkpoint to resume from the one before it.',
  });
}

/** Fills the optimizer's tensors from a checkpoint and sets its step count. */
export async function loadOptimizerState(folder: string, optimizer: Optimizer, step: number): Promise<void> {
  const file = join(folder, OPTIMIZER_FILE);
  const { entries } = await readSafetensorsHeader(file);
  for (const { name, tensor } of optimizer.state()) {
    const entry = entries.get(name);
    if (entry === undefined) {
      throw new CheckpointError('The checkpoint has no such optimizer tensor.', {
        file,
        field: name,
        hint: 'It was written with another optimizer or model; resume with the settings of the run.',
      });
    }
    await fillFromEntry(entry, tensor);
  }
  optimizer.steps = step;
}

/** Settings that may change between a run and its continuation: they do not alter the steps that both do. */
const CHANGEABLE: readonly string[] = ['output', 'logging', 'checkpoint', 'evaluation', 'reference'];
const CHANGEABLE_TRAINING: readonly string[] = [
  ...['maxSteps', 'epochs', 'device', 'threads', 'activationCheckpointing'],
];

/**
 * Refuses to resume under settings that would make another run of it.
 *
 * @param saved the run's config.yaml, parsed
 * @throws CheckpointError naming the first key that differs
 */
export function checkResumable(saved: unknown, config: Config, file: string): void {
  const before = parseConfig(saved, file) as unknown as Record<string, Record<string, unknown>>;
  const now = config as unknown as Record<string, Record<string, unknown>>;
  for (const section of Object.keys(now)) {
    if (CHANGEABLE.includes(section)) continue;
    const keys = typeof now[section] === 'object' ? Object.keys(now[section]) : [null];
    for (const key of keys) {
      if (section === 'training' && key !== null && CHANGEABLE_TRAINING.includes(key)) continue;
      const was = key === null ? before[section] : before[section]?.[key];
      const is = key === null ? now[section] : now[section]![key];
      if (isDeepStrictEqual(was, is)) continue;
      throw new CheckpointError(
        `The run was started with ${JSON.stringify(was)}, but now it is ${JSON.stringify(is)}.`,
        {
          file,
          field: key === null ? section : `${section}.${key}`,
          hint: 'Resume with the settings of the run, or start a new one in another output.folder.',
        },
      );
    }
  }
}
