/** Records come out of every kind of file alike, plain and compressed, or with a message that says what is wrong. */
import { readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import { parquetWriteFile } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPreferenceRows } from '../../src/data/read.js';
import { readRecords } from '../../src/data/records.js';
import { DataError } from '../../src/errors.js';
import { listenToProgress, type Progress } from '../../src/progress.js';
import { temporaryFolder } from '../support.js';
import { zstdRepeated, zstdSkipped, zstdStored } from './zstd-store.js';

const MIB = 1024 ** 2;
const COLUMNS = ['prompt', 'chosen', 'rejected'];
const RECORDS = [
  { prompt: 'Größe?', chosen: 'a "quoted", word', rejected: 'two\nlines' },
  { prompt: '日本 😀', chosen: 'tab\there', rejected: '' },
];

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeAll(async () => {
  folder = await temporaryFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

let files = 0;
async function save(content: string | Uint8Array, extension: string): Promise<string> {
  const file = join(folder.path, `${files++}${extension}`);
  await writeFile(file, content);
  return file;
}

async function read(file: string): Promise<{ row: number; value?: unknown }[]> {
  const records = [];
  for await (const record of readRecords(file, COLUMNS)) {
    if (record.error !== undefined) throw record.error;
    records.push(record);
  }
  return records;
}

async function messageOf(content: string | Uint8Array, extension: string): Promise<string> {
  const file = await save(content, extension);
  const error = await read(file).then(
    () => new Error('no failure'),
    cause => cause as Error,
  );
  expect(error).toBeInstanceOf(DataError);
  return error.message.replace(`${folder.path}/`, '');
}

const quoted = (value: string): string => `"${value.replaceAll('"', '""')}"`;
const table = (delimiter: string, lineEnd = '\n'): string =>
  [COLUMNS, ...RECORDS.map(record => Object.values(record).map(quoted))]
    .map(values => values.join(delimiter) + lineEnd)
    .join('');

async function parquetOf(): Promise<Buffer> {
  const filename = join(folder.path, `${files++}.parquet`);
  const columnData = COLUMNS.map(name => ({
    name,
    type: 'STRING' as const,
    data: RECORDS.map(record => record[name as 'prompt']),
  }));
  parquetWriteFile({ filename, columnData });
  return readFile(filename);
}

const CONTENTS: Readonly<Record<string, () => Promise<string | Buffer>>> = {
  '.jsonl': async () => RECORDS.map(record => `${JSON.stringify(record)}\n`).join(''),
  '.json': async () => JSON.stringify(RECORDS, null, 1),
  '.csv': async () => table(','),
  '.tsv': async () => table('\t'),
  '.parquet': parquetOf,
};

describe.each(Object.entries(CONTENTS))('%s', (extension, content) => {
  const expected = RECORDS.map((value, index) => ({ row: index + 1, value }));

  it.each([
    ['', (bytes: Buffer) => bytes],
    ['.gz', (bytes: Buffer) => gzipSync(bytes)],
    ['.zst', (bytes: Buffer) => zstdStored(bytes)],
    [
      '.zst',
      (bytes: Buffer) =>
        Buffer.concat([zstdSkipped(9), zstdStored(bytes.subarray(0, 40)), zstdStored(bytes.subarray(40))]),
    ],
  ])('is read%s', async (compression, compress) => {
    const file = await save(compress(Buffer.from(await content())), extension + compression);
    expect(await read(file)).toEqual(expected);
  });

  it.each(['', '.gz', '.zst'])('is named where it is a pointer of Git LFS%s', async compression => {
    const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 12345\n';
    expect(await messageOf(pointer, extension + compression)).toContain(
      'This is a pointer of Git LFS, not the data. Fetch the data with `git lfs pull`.',
    );
  });

  it.each([
    ['gzip', '.gz', (bytes: Buffer) => gzipSync(bytes)],
    ['Zstandard', '.zst', (bytes: Buffer) => zstdStored(bytes)],
  ])('is told by its bytes where it is %s without the name', async (name, ending, compress) => {
    const message = await messageOf(compress(Buffer.from(await content())), extension);
    expect(message).toContain(`This is ${name} data. Give the file a name that ends in ${ending}.`);
  });

  it('leaves no temporary file', async () => {
    const before = readdirSync(tmpdir())
      .filter(name => name.startsWith('sralign-'))
      .sort();
    const whole = Buffer.from(await content());
    await read(await save(gzipSync(whole), `${extension}.gz`));
    await read(await save(gzipSync(whole).subarray(0, 30), `${extension}.gz`)).catch(() => {});
    const after = readdirSync(tmpdir())
      .filter(name => name.startsWith('sralign-'))
      .sort();
    expect(after.filter(name => !before.includes(name))).toEqual([]);
  });
});

describe('Zstandard', () => {
  const fixture = (name: string): string =>
    fileURLToPath(new URL(`../fixtures/zstd/${name}.jsonl.zst`, import.meta.url));

  it.each(['level-19', 'two-frames'])('gives what the program compressed: %s', async name => {
    const original = fileURLToPath(
      new URL('../../../../examples/data/hh-rlhf/harmless-base.eval.jsonl.gz', import.meta.url),
    );
    const lines = gunzipSync(await readFile(original))
      .toString('utf8')
      .split('\n')
      .slice(0, 40);
    expect((await read(fixture(name))).map(({ value }) => value)).toEqual(
      lines.map(line => JSON.parse(line)),
    );
  });

  it('refuses every single damaged byte of a file with a checksum', async () => {
    const bytes = await readFile(fixture('level-19'));
    for (let at = 0; at < bytes.length; at += 97) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 0x10;
      // Mostly by what the text has become; else by the checksum behind it.
      await messageOf(damaged, '.jsonl.zst');
    }
  });

  it.each([
    ['is cut off', (bytes: Buffer) => bytes.subarray(0, -1), 'unexpected end of file'],
    ['is empty', () => Buffer.alloc(0), 'unexpected end of file'],
    [
      'goes on with something else',
      (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('abcd')]),
      'no frame begins',
    ],
    ['wants a gigabyte', () => zstdStored('{}', 20 << 3), 'it needs 1024 MiB of memory, more than 128'],
  ])('says that it %s', async (_, change, message) => {
    const bytes = change(await readFile(fixture('level-19')));
    expect(await messageOf(bytes, '.jsonl.zst')).toContain(
      `.jsonl.zst: The Zstandard data is damaged or incomplete (${message}`,
    );
  });

  it('refuses what expands to fill the memory', async () => {
    const endless = await messageOf(zstdRepeated('{"prompt":"', 'a', 800), '.jsonl.zst');
    expect(endless).toMatch(/longer than 64 MiB|expands to more than 50 times/);
    const line = `${JSON.stringify({ prompt: 'a' })}\n`;
    expect(await messageOf(zstdRepeated(line, '\n', 800), '.jsonl.zst')).toContain(
      'The Zstandard data expands to more than 50 times its size.',
    );
  });
});

describe('.csv', () => {
  it('takes \\r\\n, a byte order mark, blank lines and columns in any order', async () => {
    const file = await save('\uFEFFchosen,prompt\r\n\r\n"a\r\nb",c\r\n', '.csv');
    expect(await read(file)).toEqual([{ row: 1, value: { chosen: 'a\r\nb', prompt: 'c' } }]);
  });

  it.each([
    ['a,b\n1,2\n1\n', ':2: The row has 1 value, and the first line names 2 columns. Write all'],
    ['a,b\n1,2, 3\n', ':1: The row has 3 values, and the first line names 2 columns. Put a value that holds'],
    ['a,b\n"1,2\n', ':1: This is not valid CSV (Quote Not Closed'],
    ['a,b\n1,"2" x\n', ':1: This is not valid CSV (Invalid Closing Quote'],
    ['a,b\n1,say "hi"\n', ':1: This is not valid CSV (Invalid Opening Quote'],
    ['a,b,a\n1,2,3\n', ', field "a": The file has this column twice.'],
    ['a;b\n1;2\n', ': Its columns are separated by ";", not by ",". A file named .csv has commas'],
    ['a\tb\n1\t2\n', ': Its columns are separated by tabs, not by ",".'],
    [
      Buffer.from('a,b\n1,caf\xe9\n', 'latin1'),
      ':1, field "b": The text is not UTF-8: byte 4 of the field is 0xE9.',
    ],
    [Buffer.from('a,caf\xe9\n1,2\n', 'latin1'), ': The name of column 2 is not UTF-8.'],
  ])('says what is wrong with %j', async (content, message) => {
    expect(await messageOf(content, '.csv')).toContain(`.csv${message}`);
  });

  it.each(['.csv', '.tsv.gz'])('leaves out the rows with another number of values only in %s', async kind => {
    const lines = ['prompt,chosen,rejected', 'p1,good,bad', 'p2,good,bad,more', 'p3', 'p4,good,bad'].join(
      '\n',
    );
    const content = kind === '.csv' ? lines : gzipSync(lines.replaceAll(',', '\t'));
    const file = await save(content, kind);
    const skipped = await readPreferenceRows([file], 'auto', { onBadRow: 'skip' });
    expect(skipped.rows.map(({ row }) => row)).toEqual([1, 4]);
    expect(skipped.reports[0]).toMatchObject({ rows: 4, used: 2 });
    const failure = await readPreferenceRows([file]).catch((error: unknown) => error as Error);
    expect(failure).toBeInstanceOf(DataError);
    expect((failure as Error).message).toContain('2 rows cannot be used.');
    expect((failure as Error).message).toMatch(/:2: The row has 4 values.*\n.*:3: The row has 1 value,/);
  });

  it('stops where a quote does not close', async () => {
    expect(await messageOf(`a,b\n"1,${'x'.repeat(70 * MIB)}\n`, '.csv')).toContain(
      '.csv:1: The record is longer than 64 MiB',
    );
  });
});

describe('.json', () => {
  const values = async (content: string) =>
    (await read(await save(content, '.json'))).map(({ value }) => value);

  it('may hold JSON lines', async () => {
    expect(await values('{"a": 1}\n\n{"a": {"b": "}{"}}\n')).toEqual([{ a: 1 }, { a: { b: '}{' } }]);
    expect(await values('\uFEFF{"a": [{"b": 1}]}')).toEqual([{ a: [{ b: 1 }] }]);
  });

  it('may hold the list under a name', async () => {
    expect(await values('{"version": 2, "data": [{"a": 1}, {"a": 2}]}')).toEqual([{ a: 1 }, { a: 2 }]);
    expect(await values('{"data": [{"a": 1}]}\n{"data": []}')).toEqual([{ data: [{ a: 1 }] }, { data: [] }]);
  });

  it.each([
    [
      '{"train": [{}], "test": [{}]}',
      ': The object holds several lists of records: train, test. Write each into a file',
    ],
    ['{"a": 1} x', ':2: This is not valid JSON (there is more behind the record)'],
    ['{"a": 1', ':1: This is not valid JSON (the record does not end'],
    ['{"a": 1}}', ':2: This is not valid JSON'],
    ['"text"', ': Expected a JSON array of records.'],
  ])('says what is wrong with %s', async (content, message) => {
    expect(await messageOf(content, '.json')).toContain(`.json${message}`);
  });

  it('says how to unwrap a list that is too long to look behind', async () => {
    const record = JSON.stringify({ prompt: 'a'.repeat(1000) });
    const content = `{"data": [${Array.from({ length: 70 * 1024 }, () => record).join(',')}]}`;
    expect(await messageOf(content, '.json')).toContain('write the list alone: `jq .data FILE > LIST.json`');
  });
});

it('reports how much of a compressed file is read', async () => {
  const file = await save(zstdStored('{}\n'.repeat(1000)), '.jsonl.zst');
  const heard: Progress[] = [];
  await listenToProgress(
    progress => heard.push(progress),
    () => read(file),
  );
  expect(heard.at(-1)).toMatchObject({ phase: 'reading', subject: file, unit: 'bytes' });
  expect(heard.at(-1)!.done).toBe(heard.at(-1)!.total);
});

it('names the kinds there are', async () => {
  expect(await messageOf('', '.xlsx')).toContain(
    'Supported: .jsonl, .json, .csv, .tsv and .parquet, each also with .gz or .zst behind it.',
  );
});
