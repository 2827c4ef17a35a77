/** Files that are made to take time or memory end with a message that names the limit. */
import { createWriteStream } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip, gzipSync } from 'node:zlib';
import { beforeAll, expect, it } from 'vitest';
import { readPreferenceRows } from '../../src/data/read.js';
import { DataError } from '../../src/errors.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sralign-limits-'));
});

const MIB = 1024 ** 2;

async function failure(file: string): Promise<string> {
  const error = await readPreferenceRows([file], 'preference').then(
    () => new Error('no failure'),
    cause => cause as Error,
  );
  expect(error).toBeInstanceOf(DataError);
  return error.message.replace(`${folder}/`, '');
}

/** A gzip file of `head`, then `repeated` until there are `bytes` of it. */
async function gzipOf(name: string, head: string, repeated: string, bytes: number): Promise<string> {
  const file = join(folder, name);
  const block = Buffer.from(repeated.repeat(Math.ceil(MIB / repeated.length)));
  await pipeline(
    function* () {
      yield Buffer.from(head);
      for (let written = 0; written < bytes; written += block.length) yield block;
    },
    createGzip({ level: 1 }),
    createWriteStream(file),
  );
  return file;
}

it.each(['jsonl', 'json'])(
  'a record of 32 MiB is read in time linear in its length, .%s',
  async extension => {
    const record = JSON.stringify({ prompt: 'Q', chosen: 'a\\" é'.repeat(5 * MIB), rejected: 'b' });
    expect(record.length).toBeGreaterThan(32 * MIB);
    const file = join(folder, `long.${extension}`);
    await writeFile(file, extension === 'json' ? `[${record}]` : `${record}\n`);
    const startedMs = performance.now();
    const { rows } = await readPreferenceRows([file], 'preference');
    expect(rows[0]!.chosen).toHaveLength(25 * MIB);
    // Under a second where nothing else runs; a quadratic reader took 46.
    expect(performance.now() - startedMs).toBeLessThan(15_000);
  },
);

it.each([
  ['endless.jsonl.gz', '{"prompt":"', 'endless.jsonl.gz:1: The record is longer than 64 MiB'],
  ['endless.json.gz', '[{"prompt":"', 'endless.json.gz:1: The record is longer than 64 MiB'],
])('%s: a record without end', async (name, head, says) => {
  const file = await gzipOf(name, head, 'a', 80 * MIB);
  const before = process.memoryUsage().rss;
  expect(await failure(file)).toContain(says);
  expect(process.memoryUsage().rss - before).toBeLessThan(400 * MIB);
});

it('a gzip file that expands a thousandfold', async () => {
  const line = `${JSON.stringify({ prompt: 'a'.repeat(5000), chosen: 'b', rejected: 'b' })}\n`;
  const file = await gzipOf('bomb.jsonl.gz', '', line, 100 * MIB);
  expect(await failure(file)).toContain(
    'bomb.jsonl.gz: The gzip data expands to more than 50 times its size.',
  );
});

it('records that are alike, up to 64 MiB of them, are no bomb', async () => {
  const line = `${JSON.stringify({ prompt: 'a'.repeat(1000), chosen: 'b', rejected: 'c' })}\n`;
  const file = join(folder, 'alike.jsonl.gz');
  await writeFile(file, gzipSync(line.repeat(2000)));
  expect((await readPreferenceRows([file], 'preference')).rows).toHaveLength(2000);
});

it.each([
  ['jsonl', (deep: string) => `{"prompt":${deep}}\n`],
  ['json', (deep: string) => `[{"prompt":${deep}}]`],
])('JSON nested without end, .%s', async (extension, wrap) => {
  for (const [open, close] of [
    ['[', ']'],
    ['{"a":', '}'],
  ] as const) {
    const file = join(folder, `deep-${open.length}.${extension}`);
    await writeFile(file, wrap(open.repeat(200_000) + (open === '[' ? '' : '1') + close.repeat(200_000)));
    expect(await failure(file)).toContain(':1: The record is nested more than 100 levels deep.');
  }
});
