/** Ranks that are simulated one after another in this process. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Communicator, fillNormal } from '@sralign/native';
import { readCompanions } from '../../src/hf/folder.js';
import { type CausalLM, type LoadModelOptions, loadModel } from '../../src/index.js';
import { Optimizer } from '../../src/optim/optimizer.js';
import type { Sharding } from '../../src/shard/unit.js';
import { loadOptimizerState, saveTrainerState, type TrainerState } from '../../src/train/state.js';

const refuse = (): never => {
  throw new Error('This rank must not need the others.');
};

/** A rank that fails when it talks to another. */
export const aloneAs = (rank: number, worldSize: number): Communicator => ({
  rank,
  worldSize,
  hosts: Array.from({ length: worldSize }, () => 'host'),
  allGather: refuse,
  reduceScatter: refuse,
  allReduce: refuse,
  broadcast: refuse,
  barrier: refuse,
  exchange: refuse,
});

/** Ranks that only learn what rank 0, which must go first, has to say. */
export function followers(worldSize: number): Communicator[] {
  const said: unknown[] = [];
  return Array.from({ length: worldSize }, (_, rank) => {
    let exchanges = 0;
    return {
      ...aloneAs(rank, worldSize),
      exchange<T>(value: T): T[] {
        if (rank === 0) said.push(value);
        return [said[exchanges++] as T];
      },
    };
  });
}

const ADAMW = {
  name: 'adamw',
  alpha: 0.99,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
} as const;
export const STATE: TrainerState = {
  step: 7,
  sampler: { epoch: 1, position: 3 },
  keepBest: 'eval_loss',
  best: { metric: 'eval_loss', value: 0.5, step: 6 },
  evaluationsSinceBest: 1,
};

/** What one rank has of a run. */
export interface RankState extends Disposable {
  readonly model: CausalLM;
  readonly optimizer: Optimizer;
}

function rankState(model: CausalLM): RankState {
  const optimizer = new Optimizer(model.units.flats, ADAMW);
  return {
    model,
    optimizer,
    [Symbol.dispose]() {
      optimizer.dispose();
      model.dispose();
    },
  };
}

/** One process with random moments, different in every tensor. */
export async function startedRun(modelFolder: string, options: LoadModelOptions): Promise<RankState> {
  const state = rankState(await loadModel(modelFolder, options));
  for (const [seed, { tensor }] of state.optimizer.moments.entries()) {
    fillNormal({ out: tensor, deviation: 1, seed });
  }
  return state;
}

export async function save(
  folder: string,
  { model, optimizer }: RankState,
  modelFolder: string,
): Promise<void> {
  await saveTrainerState(folder, model, optimizer, STATE, await readCompanions(modelFolder));
}

/** Loads a checkpoint on `worldSize` ranks and hands each rank to `use`. */
export async function resumeOn(
  worldSize: number,
  checkpoint: string,
  dtype: 'f32' | 'bf16',
  use: (state: RankState) => Promise<void>,
  sharding: Sharding = 'full',
): Promise<void> {
  for (const communicator of followers(worldSize)) {
    using state = rankState(await loadModel(checkpoint, { dtype, sharding: { communicator, sharding } }));
    await loadOptimizerState(checkpoint, state.optimizer, STATE.step, communicator);
    await use(state);
  }
}

/** Every file of a folder, with its length and digest. */
export async function contents(folder: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const name of (await readdir(folder)).sort()) {
    const bytes = await readFile(join(folder, name));
    files[name] = `${bytes.length} ${createHash('sha256').update(bytes).digest('hex')}`;
  }
  return files;
}
