/** Sources of the core as JavaScript in a folder of their own, for processes and threads that can be ended. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const SOURCES = [
  ...['errors.ts', 'files.ts', 'reference/records.ts'],
  ...['checkpoint/commit.ts', 'checkpoint/run-record.ts', 'checkpoint/run-folder.ts', 'hf/run-models.ts'],
];

/** @returns the file with `program`, which imports `./checkpoint/commit.js` and so on */
export async function writeProgram(folder: string, program: string): Promise<string> {
  for (const source of SOURCES) {
    const text = await readFile(fileURLToPath(new URL(`../../src/${source}`, import.meta.url)), 'utf8');
    const target = join(folder, source.replace(/ts$/, 'js'));
    await mkdir(dirname(target), { recursive: true });
    const { outputText } = ts.transpileModule(text, {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
    });
    await writeFile(target, outputText);
  }
  // The real one reads package.json, which is not here.
  await writeFile(join(folder, 'version.js'), "export const VERSION = 'of a test';");
  await writeFile(join(folder, 'package.json'), '{"type": "module"}');
  const file = join(folder, 'writer.js');
  await writeFile(file, program);
  return file;
}
