/**
 * From what a user calls a model to its folder on this machine. One way for all commands, settings and functions:
 *
 *   a folder          models/pythia-410m, runs/dpo/final, runs/dpo/checkpoints/step-000100
 *   a run             runs/dpo, which is its final/
 *   a step of a run   runs/dpo@100, which is its checkpoint of that step
 *   a hub id          EleutherAI/pythia-410m
 */
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ModelError } from '../errors.js';
import { exists, look } from '../files.js';
import { baseModelOf, type ModelNeed, refuseForeign } from './foreign.js';
import { hubModelFolder, isHubId } from './hub.js';
import { CHECKPOINTS_FOLDER, checkpointFolder, FINAL_FOLDER, listCheckpoints } from './run-models.js';

export interface ResolveOptions {
  /** Default weights. */
  readonly need?: ModelNeed;
  /** True where nothing may be downloaded, as HF_HUB_OFFLINE says for all; default false. */
  readonly offline?: boolean;
}

/**
 * The folder of a model. A hub id is looked up in the Hugging Face cache and, if not complete there, downloaded into it
 * (hub.ts).
 *
 * @param revision branch, tag or commit of a hub model
 * @throws ModelError when there is neither folder nor model, when it is something else (an adapter, GGUF), when a run has no
 *   such step, or the download fails; RunError when the disk refuses
 */
export async function resolveModelFolder(
  model: string,
  revision = 'main',
  { need = 'weights', offline = false }: ResolveOptions = {},
): Promise<string> {
  const folder = await localModelFolder(model);
  if (folder !== null) {
    if (need !== 'tokenizer') await checkHolds(folder, need);
    return folder;
  }
  if (await look(model, ModelError)) throw await notAFolder(model);
  if (isHubId(model)) return hubModelFolder(model, revision, { need, offline });
  throw new ModelError('There is no such folder, and it is not a hub id (organisation/name) either.', {
    file: model,
  });
}

/**
 * The folder of a model on this machine that is not named by a hub id, or null.
 *
 * @throws ModelError for a run that has no final model or no such step
 */
export async function localModelFolder(model: string): Promise<string | null> {
  if ((await look(model, ModelError))?.isDirectory()) return finalOf(model);
  const [, run, step] = /^(.+)@(\d+)$/.exec(model) ?? [];
  if (run === undefined || !(await look(run, ModelError))?.isDirectory()) return null;
  const folder = checkpointFolder(run, Number(step));
  if ((await look(folder, ModelError))?.isDirectory()) return folder;
  throw new ModelError(`The run has no checkpoint of step ${step}.`, {
    file: run,
    hint: await stepsHint(run),
  });
}

/** A folder itself; of the folder of a run, its final model. */
async function finalOf(folder: string): Promise<string> {
  if (await exists(join(folder, 'config.json'), ModelError)) return folder;
  const final = join(folder, FINAL_FOLDER);
  if (await exists(join(final, 'config.json'), ModelError)) return final;
  const isRun = await exists(join(folder, CHECKPOINTS_FOLDER), ModelError);
  if (!isRun || !(await exists(join(folder, 'config.yaml'), ModelError))) return folder;
  throw new ModelError('The run in this folder has no final model yet.', {
    file: folder,
    hint: await stepsHint(folder),
  });
}

async function stepsHint(run: string): Promise<string> {
  const steps = (await listCheckpoints(run)).map(({ step }) => step);
  if (steps.length === 0) return 'It has no checkpoint either: train it first, or go on with it by --resume.';
  const named = steps.slice(-5).map(step => `${run}@${step}`);
  return `It has ${steps.length > named.length ? 'among others ' : ''}${named.join(', ')}.`;
}

/** @throws ModelError naming what the folder holds instead of what is needed */
async function checkHolds(folder: string, need: ModelNeed): Promise<void> {
  const names = await readdir(folder).catch((cause: Error) => {
    throw new ModelError(`The folder cannot be read (${cause.message}).`, { file: folder, cause });
  });
  if (need === 'config' && names.includes('config.json')) return;
  refuseForeign(folder, names, await baseModelOf(folder));
}

async function notAFolder(file: string): Promise<ModelError> {
  if (/\.(gguf|bin|pth?|ckpt|h5|onnx)$/i.test(file)) {
    try {
      refuseForeign(file, [file.split('/').at(-1)!], null);
    } catch (error) {
      return error as ModelError;
    }
  }
  const beside = await exists(join(dirname(file), 'config.json'), ModelError);
  return new ModelError('This is a file; a model is a folder.', {
    file,
    ...(beside && { hint: `Give the folder that it is in, ${dirname(file)}.` }),
  });
}
