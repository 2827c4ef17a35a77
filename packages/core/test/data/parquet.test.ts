/** Parquet: strict texts, and files that are damaged or claim what they are not. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { parquetMetadata } from 'hyparquet';
import { parquetWriteFile } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPreferenceRows } from '../../src/data/read.js';
import { DataError } from '../../src/errors.js';

const binary = fileURLToPath(new URL('../fixtures/data/binary-latin1.parquet', import.meta.url));

let folder: string;
const escaped: unknown[] = [];
const note = (reason: unknown): void => void escaped.push(reason);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sralign-parquet-'));
  process.on('unhandledRejection', note);
});
afterAll(() => {
  process.off('unhandledRejection', note);
  expect(escaped).toEqual([]);
});

const rowsOf = async (file: string) =>
  (await readPreferenceRows([file], 'preference')).rows.map(({ row, chosen }) => [row, chosen]);

let files = 0;
/** What reading these bytes ends in. */
async function outcome(bytes: Uint8Array): Promise<string> {
  const file = join(folder, `${files++}.parquet`);
  await writeFile(file, bytes);
  return rowsOf(file).then(
    rows => `${rows.length} rows`,
    (error: unknown) => {
      expect(error).toBeInstanceOf(DataError);
      return (error as Error).message.replace(`${folder}/`, '').replace(/^\d+/, '');
    },
  );
}

type Codec = 'UNCOMPRESSED' | 'SNAPPY' | 'GZIP' | 'BROTLI';

/** @param repeats makes the writer use a dictionary */
async function written(codec: Codec, rows = 25, repeats = 1): Promise<Buffer> {
  const filename = join(folder, `${files++}.parquet`);
  const column = (name: string) => ({
    name,
    type: 'STRING' as const,
    data: Array.from({ length: rows }, (_, row) => `${name} ${Math.floor(row / repeats)} café`),
  });
  const columnData = ['prompt', 'chosen', 'rejected'].map(column);
  const compressors = { GZIP: gzipSync, BROTLI: brotliCompressSync };
  parquetWriteFile({ filename, columnData, codec, compressors, rowGroupSize: 10 });
  return readFile(filename);
}

describe('texts', () => {
  it('of a column of bytes are UTF-8 or an error', async () => {
    const error = await rowsOf(binary).catch(error => error as Error);
    expect(String(error)).toMatch(
      /binary-latin1\.parquet:1, field "\w+": The text is not UTF-8: byte \d+ of the field/,
    );
  });

  it.each([1, 5])('of a column of text, plain or in a dictionary (%i equal rows)', async repeats => {
    const bytes = await written('UNCOMPRESSED', 25, repeats);
    const at = bytes.indexOf(`chosen ${Math.floor(12 / repeats)} café`, 'utf8');
    bytes[bytes.indexOf(0xc3, at)] = 0xe9;
    const row = Math.floor(12 / repeats) * repeats + 1;
    const found = await outcome(bytes);
    expect(found).toContain(repeats === 1 ? `.parquet:${row}, field "chosen": ` : '5 rows cannot be used');
    expect(found).toMatch(/field "chosen": The text is not UTF-8: byte \d+ of the field is 0xE9/);
  });

  it.each(['UNCOMPRESSED', 'SNAPPY', 'GZIP', 'BROTLI'] as const)(
    'are read in any row group, %s',
    async codec => {
      for (const repeats of [1, 5]) {
        const file = join(folder, `${files++}.parquet`);
        await writeFile(file, await written(codec, 25, repeats));
        const expected = Array.from({ length: 25 }, (_, row) => [
          row + 1,
          `chosen ${Math.floor(row / repeats)} café`,
        ]);
        expect(await rowsOf(file)).toEqual(expected);
      }
    },
  );
});

describe('rows that are all alike', () => {
  it('take next to no bytes, and are read', async () => {
    expect(await outcome(await written('SNAPPY', 20_000, 20_000))).toBe('20000 rows');
  });
});

describe('damage', () => {
  it('a claim of 2^31 rows is checked against the size of the file', async () => {
    const bytes = await written('UNCOMPRESSED', 7);
    const footerBytes = bytes.readUInt32LE(bytes.length - 8);
    const footer = bytes.length - 8 - footerBytes;
    const huge = Buffer.from([0xfe, 0xff, 0xff, 0xff, 0x0f]);
    let tried = 0;
    for (let at = footer; at < bytes.length - 8; at++) {
      if (bytes[at] !== 14) continue;
      const claim = Buffer.concat([bytes.subarray(0, at), huge, bytes.subarray(at + 1)]);
      claim.writeUInt32LE(footerBytes + huge.length - 1, claim.length - 8);
      const startedMs = performance.now();
      const rows = claimedRows(claim);
      if (rows === undefined) continue;
      tried++;
      expect(await outcome(claim)).toMatch(/it claims 2147483647 rows in \d+ bytes/);
      expect(performance.now() - startedMs).toBeLessThan(4000);
    }
    expect(tried).toBe(1);
  });

  it.each(['UNCOMPRESSED', 'SNAPPY', 'GZIP'] as const)(
    'anywhere ends in rows or a DataError, and nothing escapes, %s',
    async codec => {
      let seed = 7;
      const random = (below: number): number => {
        seed = (seed * 48271) % 2147483647;
        return seed % below;
      };
      const sound = await written(codec, 25, 5);
      for (let trial = 0; trial < 400; trial++) {
        const bytes = Buffer.from(sound);
        for (let change = 0; change <= random(3); change++) bytes[random(bytes.length)] = random(256);
        await outcome(trial % 10 === 0 ? bytes.subarray(0, random(bytes.length)) : bytes);
      }
    },
    60_000,
  );

  it('a run of values longer than its page is refused, not written out', async () => {
    const sound = await written('UNCOMPRESSED', 10, 5);
    const messages = new Set<string>();
    const footer = sound.length - 8 - sound.readUInt32LE(sound.length - 8);
    for (let at = 4; at < footer; at++) {
      const bytes = Buffer.from(sound);
      bytes.set([0xfe, 0xff, 0xff, 0xff, 0x07], at);
      messages.add(await outcome(bytes));
    }
    const all = [...messages].join();
    expect(all).toMatch(/a run of \d{4,} values stands in a page of 10/);
    expect(all).toContain('a run leaves its page');
  }, 60_000);
});

/** Rows that the first row group claims, when they are 2^31 - 1. */
function claimedRows(bytes: Buffer): number | undefined {
  try {
    const rows = Number(parquetMetadata(bytes).row_groups[0]!.num_rows);
    return rows === 2 ** 31 - 1 ? rows : undefined;
  } catch {
    return undefined;
  }
}
