/** The CUDA library with a mistake in it, to see that tests notice. */
import { execFile } from 'node:child_process';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const here = fileURLToPath(new URL('.', import.meta.url));
const sources = fileURLToPath(new URL('../../src', import.meta.url));

export interface Mutation {
  readonly name: string;
  /** The file that is compiled again. */
  readonly unit: string;
  /** The file that is changed; `unit` where it is not given. */
  readonly file?: string;
  /** The text to change, which must occur there, and what it becomes. */
  readonly from: string;
  readonly to: string;
}

/** Builds it in a folder of its own inside `folder`; the path of the library. */
export async function buildMutant(
  folder: string,
  { name, unit, file = unit, from, to }: Mutation,
): Promise<string> {
  const mutant = join(folder, name.replaceAll(' ', '-'));
  await cp(sources, join(mutant, 'src'), { recursive: true });
  const path = join(mutant, 'src', 'cuda', file);
  const text = await readFile(path, 'utf8');
  if (!text.includes(from)) throw new Error(`${file} has no "${from}" any more: mend this mutation.`);
  await writeFile(path, text.replace(from, to));
  const variables = [
    `CUDA=${join(mutant, 'src', 'cuda')}`,
    `UNIT=${unit.replace('.cu', '')}`,
    `MUTANT=${mutant}`,
  ];
  await promisify(execFile)('make', ['-C', here, 'mutant', ...variables], { maxBuffer: 1 << 26 });
  return join(mutant, 'libsralign_cuda_host.so');
}
