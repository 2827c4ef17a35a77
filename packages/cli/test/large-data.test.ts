/** Files larger than the memory that there is. */

import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { expect, it } from 'vitest';
import { MAIN, MODEL, ROOT, runNode, TemporaryFolder } from './run.js';

const MIB = 1024 ** 2;
const WORDS = ['cat', 'dog', 'sun', 'tree', 'ball', 'boat', 'bird', 'cake', 'girl', 'boy', 'moon'];

/** An array, or JSON lines, of more than `bytes`; no two records are alike. */
async function writeRecords(file: string, bytes: number, inArray: boolean): Promise<number> {
  const out = createWriteStream(file);
  let records = 0;
  for (let written = 0; written < bytes; records++) {
    const word = WORDS[records % WORDS.length]!;
    const prompt = `Record ${records}. ${`Tell me of the ${word}, please. `.repeat(20)}`;
    const record = { prompt, chosen: ` The ${word} is happy.`, rejected: ' No.' };
    const text = `${records === 0 ? (inArray ? '[' : '') : inArray ? ',\n' : '\n'}${JSON.stringify(record)}`;
    written += text.length;
    if (!out.write(text)) await once(out, 'drain');
  }
  out.end(inArray ? ']\n' : '\n');
  await once(out, 'close');
  return records;
}

it.each([
  ['array', true],
  ['JSON lines', false],
])('samples a .json file (%s) of 120 MiB with 64 MiB of heap', async (_, inArray) => {
  using folder = new TemporaryFolder();
  const file = folder.join('pairs.json');
  const records = await writeRecords(file, 120 * MIB, inArray);
  const config = folder.write(
    'config.yaml',
    `method: dpo
model: { path: ${JSON.stringify(MODEL)} }
data: { train: ${JSON.stringify(file)}, maxTrainPairs: 50 }
tokens: { longPrompt: keep-end }
output: { folder: ${JSON.stringify(folder.join('run'))} }
`,
  );
  const args = ['--max-old-space-size=64', MAIN, 'data', 'preview', config, '--rows', '1'];
  const { code, stdout, stderr } = await runNode(args, ROOT);
  expect(stderr).not.toContain('heap');
  expect(code, stderr).toBe(0);
  const inThousands = (count: number): string => count.toLocaleString('en-US');
  expect(stdout).toContain(
    `pairs.json, training: ${inThousands(records)} records, 50 pairs, ${inThousands(records - 50)} not drawn`,
  );
  // The first row of a sample of all is not the first of the file.
  expect(stdout).not.toContain('pairs.json:1\n');
});
