/** What a run reads must not lie where `--overwrite` deletes, nor the other way round, whatever links lead there. */
import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { CheckpointError } from '../errors.js';
import { look, systemErrorCode } from '../files.js';

/** A file or folder that a run reads. */
export interface RunInput {
  /** The setting or option that names it. */
  readonly field: string;
  readonly path: string;
}

/**
 * @param inputs those that are not there (a hub id, a file still to be written) are where they would be
 * @throws CheckpointError naming the first input that lies in the output folder, or that the output folder lies in
 */
export async function checkInputsApart(outputFolder: string, inputs: readonly RunInput[]): Promise<void> {
  const output = await realPlace(outputFolder);
  for (const { field, path } of inputs) {
    for (const place of await placesOf(path)) {
      const within = isInside(place, output);
      if (!within && !isInside(output, place)) continue;
      throw new CheckpointError(
        within
          ? `--overwrite deletes the run in this folder, but ${field} lies in it: ${path}.`
          : `--overwrite deletes the run in this folder, but it lies in ${field}: ${path}.`,
        {
          file: outputFolder,
          field: 'output.folder',
          hint: 'Move what is to be read elsewhere, or choose another output.folder.',
        },
      );
    }
  }
}

const isInside = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);

/** Where a file or folder is, and, as a folder may hold links to files elsewhere, where its files are. */
async function placesOf(path: string): Promise<string[]> {
  const places = [await realPlace(path)];
  if (!(await look(path, CheckpointError))?.isDirectory()) return places;
  for (const name of await readdir(path)) places.push(await realPlace(join(path, name)));
  return places;
}

/** The place of a path without links, where its last parts need not be there. */
async function realPlace(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    const parent = dirname(resolve(path));
    const code = systemErrorCode(error);
    if ((code !== 'ENOENT' && code !== 'ENOTDIR') || parent === resolve(path)) return resolve(path);
    return join(await realPlace(parent), basename(path));
  }
}
