/** Text is read strictly: what is not UTF-8, not one meaning, or no character ends reading, with file and row. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { readPreferenceRows } from '../../src/data/read.js';
import { DataError } from '../../src/errors.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sralign-strict-'));
});

let files = 0;
/** The message of reading a file; without the path of its folder. */
async function failure(extension: string, content: string | Uint8Array): Promise<string> {
  const file = join(folder, `${files++}.${extension}`);
  await writeFile(file, content);
  const error = await readPreferenceRows([file], 'preference').then(
    () => new Error('no failure'),
    cause => cause as Error,
  );
  expect(error).toBeInstanceOf(DataError);
  return error.message.replace(`${folder}/`, '').replace(/^\d+\./, '');
}

const good = '{"prompt":"Où","chosen":" là €","rejected":" ici 😀"}';
const latin = (text: string): Buffer => Buffer.from(text, 'latin1');

/** The bad record in second place, in every kind of file. */
async function failures(bad: Uint8Array): Promise<string[]> {
  const [first, newline] = [Buffer.from(good), Buffer.from('\n')];
  const lines = Buffer.concat([first, newline, bad, newline, first, newline]);
  const array = Buffer.concat([Buffer.from('[\n'), first, Buffer.from(',\n'), bad, Buffer.from(']')]);
  return Promise.all([
    failure('jsonl', lines),
    failure('jsonl.gz', gzipSync(lines)),
    failure('json', array),
    failure('json.gz', gzipSync(array)),
  ]);
}

describe('bytes that are not UTF-8', () => {
  it.each([
    [
      'Latin-1',
      latin('{"prompt":"Le café est","chosen":" fermé.","rejected":" b"}'),
      'byte 18 of the record is 0xE9',
    ],
    [
      'Windows-1252',
      latin('{"prompt":"caf","chosen":" cr\x92.","rejected":" b"}'),
      'byte 30 of the record is 0x92',
    ],
    [
      'a cut character',
      latin('{"prompt":"A","chosen":" caf\xC3","rejected":" no"}'),
      'byte 29 of the record is 0xC3',
    ],
    [
      'an encoded surrogate',
      latin('{"prompt":"A\xED\xA0\xBD","chosen":"a","rejected":"b"}'),
      'byte 13 of the record is 0xED',
    ],
    [
      'an overlong form',
      latin('{"prompt":"A\xC0\x80","chosen":"a","rejected":"b"}'),
      'byte 13 of the record is 0xC0',
    ],
    [
      'an ignored field',
      latin('{"prompt":"A","chosen":"a","rejected":"b","note":"\xFF"}'),
      'byte 51 of the record is 0xFF',
    ],
  ])('%s', async (_, bad, says) => {
    for (const message of await failures(bad)) {
      expect(message).toMatch(/^jsonl?(\.gz)?:2: The text is not UTF-8/);
      expect(message).toContain(says);
      expect(message).toContain('iconv');
    }
  });

  it('names UTF-16, with and without its mark', async () => {
    for (const extension of ['jsonl', 'json']) {
      const text = extension === 'json' ? `[${good}]` : good;
      const little = Buffer.from(`\uFEFF${text}\n`, 'utf16le');
      for (const bytes of [little, Buffer.from(little).swap16(), little.subarray(2)]) {
        const message = await failure(extension, bytes);
        expect(message).toMatch(/jsonl?:1: This|jsonl?:1: The/);
        expect(message).toContain('It looks like UTF-16');
      }
    }
  });

  it('takes the mark of UTF-8, and characters that chunks cut', async () => {
    const long = { prompt: 'äöü€😀'.repeat(200_000), chosen: 'a', rejected: 'b' };
    for (const [extension, text] of [
      ['jsonl', `\uFEFF${JSON.stringify(long)}\n`],
      ['json', `\uFEFF [${JSON.stringify(long)}]`],
    ] as const) {
      const file = join(folder, `${files++}.${extension}`);
      await writeFile(file, text);
      const { rows } = await readPreferenceRows([file], 'preference');
      expect(rows[0]!.prompt).toEqual({ kind: 'text', text: long.prompt });
    }
  });

  it('names every fault in the same chunk', async () => {
    const text = `${good}\n{"prompt": 1}\n`;
    const message = await failure('jsonl', Buffer.concat([Buffer.from(text), latin('\xFF\n')]));
    expect(message).toMatch(
      /^jsonl: 2 rows cannot be used\.\n.*jsonl:2, field "prompt": Expected a text.*\n.*jsonl:3: The text is not UTF-8/,
    );
  });
});

describe('halves of characters', () => {
  it.each([
    ['{"prompt":"Hi \\ud83d","chosen":"a","rejected":"b"}', 'prompt'],
    ['{"prompt":"Hi","chosen":" yes \\uDE00","rejected":"b"}', 'chosen'],
    ['{"prompt":"Hi","chosen":" a","rejected":"b","tags":[{"x":["\\ude00\\ud83d"]}]}', 'tags[0].x[0]'],
    ['{"prompt":"Hi","chosen":" a","rejected":"b","\\ud83d":1}', '\uFFFD'],
  ])('%s', async (record, field) => {
    for (const message of await failures(Buffer.from(record))) {
      expect(message).toContain(`:2, field "${field}": The text holds one half of a surrogate pair`);
    }
  });

  it('takes pairs, and what only looks like an escape', async () => {
    const file = join(folder, `${files++}.jsonl`);
    await writeFile(file, '{"prompt":"\\ud83d\\ude00 \\\\ud83d","chosen":"a","rejected":"b"}\n');
    const { rows } = await readPreferenceRows([file], 'preference');
    expect(rows[0]!.prompt).toEqual({ kind: 'text', text: '😀 \\ud83d' });
  });
});

describe('repeated keys', () => {
  it.each([
    ['{"prompt":"a","prompt":"b","chosen":"c","rejected":"d"}', 'prompt'],
    ['{"prompt":"a","chosen":"c","rejected":"d","meta":{"x":[1,{"y":1,"z":{},"\\u0079":2}]}}', 'y'],
    ['{"prompt":"\\"chosen\\":","chosen":"c","rejected":"d","chosen":"c"}', 'chosen'],
    ['{"__proto__":1,"prompt":"a","chosen":"c","rejected":"d","__proto__":2}', '__proto__'],
  ])('%s', async (record, field) => {
    for (const message of await failures(Buffer.from(record))) {
      expect(message).toContain(`:2, field "${field}": The record has this key twice.`);
    }
  });

  it('are told from equal keys of several objects, and from text', async () => {
    const record = {
      prompt: '{"prompt":"a","prompt":"b"} \\',
      chosen: '"chosen":"x\\"',
      rejected: 'd',
      list: [{ role: 'user' }, { role: 'user' }],
      inside: { prompt: { prompt: 1 } },
    };
    const file = join(folder, `${files++}.json`);
    await writeFile(file, JSON.stringify([record, record], null, 2));
    const { rows } = await readPreferenceRows([file], 'preference');
    expect(rows.map(({ chosen }) => chosen)).toEqual([record.chosen, record.chosen]);
  });
});

describe('files that are something else', () => {
  const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 123456\n';

  it.each(['jsonl', 'jsonl.gz', 'json', 'json.gz', 'parquet'])(
    'a pointer of Git LFS, .%s',
    async extension => {
      const message = await failure(extension, pointer);
      expect(message).toContain(
        'This is a pointer of Git LFS, not the data. Fetch the data with `git lfs pull`.',
      );
    },
  );

  it.each([
    ['json', `${good}\n${good}\n]`, 'json:3: This is not valid JSON (there is more behind the record)'],
    ['json', '', 'Expected a JSON array of records.'],
    ['json', `[${good}`, 'json:1: This is not valid JSON (the array does not end'],
    ['json', `[${good},`, 'json:2: This is not valid JSON'],
    ['json', `[${good},]`, 'json:2: This is not valid JSON'],
    ['json', `[${good}] [`, 'json:2: This is not valid JSON (there is more behind the array)'],
    ['json', `[{]`, 'json:1: This is not valid JSON (a bracket closes that is not open)'],
    ['json', ' [ ] ', 'The file holds no record.'],
    ['jsonl', gzipSync(good), 'This is gzip data. Give the file a name that ends in .gz.'],
  ])('.%s of %j', async (extension, content, says) => {
    expect(await failure(extension, content)).toContain(says);
  });
});
