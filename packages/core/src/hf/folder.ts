/** The small files of a Hugging Face model folder: reading their JSON, and all that belongs beside the weights. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelError } from '../errors.js';
import { look, readIfPresent } from '../files.js';

/**
 * Reads a JSON file.
 *
 * @throws ModelError when it is missing, a broken link, cannot be read or is not JSON
 */
export async function readJsonFile(file: string): Promise<unknown> {
  const bytes = await readIfPresent(file, ModelError);
  if (bytes === null) throw new ModelError('The file is missing.', { file });
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new ModelError(`The file is not valid JSON (${(cause as Error).message}).`, {
      file,
      hint: 'It is damaged: download or copy it again.',
      cause,
    });
  }
}

/** Files that go with the weights whatever becomes of them: tokenizer, chat template, generation settings, licence. */
const COMPANIONS =
  /^(tokenizer.*|special_tokens_map\.json|added_tokens\.json|vocab\..*|merges\.txt|.*\.model|chat_template.*|generation_config\.json|LICENSE.*|NOTICE.*)$/;

/** What a model folder has beside its weights, held in memory so that a save depends on nothing that may change meanwhile. */
export interface Companions {
  /** config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Tokenizer, generation and licence files, by name. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** The model's card, README.md; null when it has none. */
  readonly card: string | null;
}

/**
 * Reads what belongs beside the weights of a model.
 *
 * @param modelFolder a Hugging Face folder
 * @param tokenizerFolder where the tokenizer comes from, if elsewhere; its files take the place of the model's
 * @throws ModelError naming the file that is missing, a broken link, or cannot be read
 */
export async function readCompanions(
  modelFolder: string,
  tokenizerFolder: string = modelFolder,
): Promise<Companions> {
  const config = (await readJsonFile(join(modelFolder, 'config.json'))) as Record<string, unknown>;
  const files = await readCompanionFiles(modelFolder);
  if (tokenizerFolder !== modelFolder) {
    for (const [name, bytes] of await readCompanionFiles(tokenizerFolder)) files.set(name, bytes);
  }
  const card = await readIfPresent(join(modelFolder, 'README.md'), ModelError);
  return { config, files, card: card?.toString('utf8') ?? null };
}

async function readCompanionFiles(folder: string): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for (const name of (await readdir(folder)).filter(name => COMPANIONS.test(name)).sort()) {
    const file = join(folder, name);
    if ((await look(file, ModelError))?.isDirectory()) continue;
    const bytes = await readIfPresent(file, ModelError);
    if (bytes !== null) files.set(name, bytes);
  }
  return files;
}
