/** The small files of a Hugging Face model folder: reading their JSON, copying what belongs beside the weights. */
import { copyFile, mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelError } from '../errors.js';
import { checkRegularFile, systemErrorCode } from '../files.js';

/**
 * Reads a JSON file.
 *
 * @throws ModelError when it is missing, cannot be read or is not JSON
 */
export async function readJsonFile(file: string): Promise<unknown> {
  const text = await readRegularFile(file).catch((cause: Error) => {
    const missing = systemErrorCode(cause) === 'ENOENT';
    throw new ModelError(missing ? 'The file is missing.' : `The file cannot be read (${cause.message}).`, {
      file,
      cause,
    });
  });
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ModelError(`The file is not valid JSON (${(cause as Error).message}).`, {
      file,
      hint: 'It is damaged: download or copy it again.',
      cause,
    });
  }
}

async function readRegularFile(file: string): Promise<string> {
  await checkRegularFile(file);
  return readFile(file, 'utf8');
}

/** Files that go with the weights whatever becomes of them: tokenizer, chat template, generation settings, licence. */
const COMPANIONS =
  /^(tokenizer.*|special_tokens_map\.json|added_tokens\.json|vocab\..*|merges\.txt|.*\.model|chat_template.*|generation_config\.json|LICENSE.*|NOTICE.*)$/;

/** Copies the tokenizer, generation and licence files of a model folder unchanged. */
export async function copyTokenizerFiles(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (entry.isDirectory() || !COMPANIONS.test(entry.name)) continue;
    await copyFile(join(from, entry.name), join(to, entry.name));
  }
}
