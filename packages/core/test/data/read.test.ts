import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { parquetWriteFile } from 'hyparquet-writer';
import { beforeAll, describe, expect, it } from 'vitest';
import type { DataFormat } from '../../src/config/schema/data.js';
import { readPreferenceRows } from '../../src/data/read.js';
import { DataError } from '../../src/errors.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sralign-data-'));
});

type Codec = 'SNAPPY' | 'GZIP' | 'BROTLI' | 'UNCOMPRESSED';

let files = 0;
async function save(content: string | Uint8Array, extension: string): Promise<string> {
  const file = join(folder, `${files++}.${extension}`);
  await writeFile(file, content);
  return file;
}

const jsonl = (records: readonly unknown[]): string =>
  records.map(record => `${JSON.stringify(record)}\n`).join('');

async function readRecords(format: DataFormat, ...records: unknown[]) {
  return readPreferenceRows([await save(jsonl(records), 'jsonl')], format);
}

async function errorOf(promise: Promise<unknown>): Promise<DataError> {
  const error = await promise.then(
    () => null,
    cause => cause,
  );
  expect(error).toBeInstanceOf(DataError);
  return error;
}

const pair = { prompt: 'Q', chosen: 'yes', rejected: 'no' };
const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });

describe('hh', () => {
  it('splits at the last shared "\\n\\nAssistant:"', async () => {
    const start = '\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: How far is the moon?\n\nAssistant:';
    const { rows } = await readRecords('hh', {
      chosen: `${start} Far away.`,
      rejected: `${start} Far, but not so far.`,
    });
    expect(rows).toEqual([
      {
        kind: 'pair',
        file: expect.any(String),
        row: 1,
        prompt: { kind: 'text', text: start },
        chosen: ' Far away.',
        rejected: ' Far, but not so far.',
      },
    ]);
  });

  it('counts the records that hold no pair, with the reason', async () => {
    const good = { chosen: '\n\nHuman: a\n\nAssistant: b', rejected: '\n\nHuman: a\n\nAssistant: c' };
    const noTurn = { chosen: 'Human: a', rejected: 'Human: b' };
    const apart = {
      chosen: '\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d',
      rejected: '\n\nHuman: a\n\nAssistant: b\n\nHuman: e\n\nAssistant: d',
    };
    const same = { chosen: good.chosen, rejected: good.chosen };
    const { rows, reports } = await readRecords('hh', noTurn, good, apart, same, apart);
    expect(rows.map(({ row }) => row)).toEqual([2]);
    expect(reports).toEqual([
      {
        file: rows[0]!.file,
        source: null,
        notDrawn: 0,
        format: 'hh',
        by: ['chosen', 'rejected'],
        kind: 'text',
        badRows: [],
        rows: 5,
        used: 1,
        stoppedEarly: false,
        skipped: {
          'no shared prompt that ends in "\\n\\nAssistant:"': 1,
          'the dialogues part before the last answer': 2,
          'chosen equals rejected': 1,
        },
        examples: [
          { row: 1, reason: 'no shared prompt that ends in "\\n\\nAssistant:"' },
          { row: 3, reason: 'the dialogues part before the last answer' },
          { row: 4, reason: 'chosen equals rejected' },
          { row: 5, reason: 'the dialogues part before the last answer' },
        ],
      },
    ]);
  });

  it('refuses a file none of whose records is a pair', async () => {
    const error = await errorOf(readRecords('hh', { chosen: 'a', rejected: 'b' }));
    expect(error.message).toMatch(
      /None of the 1 records gives anything to learn from \(1: no shared prompt .* Is data\.format right\? They were read as hh/,
    );
  });
});

describe('preference', () => {
  it('takes the texts as they are', async () => {
    const { rows, reports } = await readRecords('preference', pair, { ...pair, rejected: '', other: 1 });
    expect(rows.map(({ prompt, chosen, rejected }) => [prompt, chosen, rejected])).toEqual([
      [{ kind: 'text', text: 'Q' }, 'yes', 'no'],
      [{ kind: 'text', text: 'Q' }, 'yes', ''],
    ]);
    expect(reports[0]).toMatchObject({ rows: 2, used: 2, skipped: {}, examples: [] });
  });

  it.each([
    [{ prompt: 'Q', chosen: 'yes' }, 'field "rejected": Missing; expected a text.'],
    [{ ...pair, chosen: 3 }, 'field "chosen": Expected a text, found 3.'],
    [{ ...pair, prompt: '' }, 'field "prompt": The prompt is empty.'],
    ['text', 'Expected a record with fields.'],
  ])('names file, row and field of %j', async (record, message) => {
    const error = await errorOf(readRecords('preference', pair, record));
    expect(error.message).toContain('.jsonl:2');
    expect(error.message).toContain(message);
    expect(error).toMatchObject({ code: 'ERR_DATA', exitCode: 2, details: { row: 2 } });
  });
});

describe('conversational', () => {
  const chat = [{ role: 'system', content: 'S' }, user('Q')];

  it.each([
    ['answers as messages', { prompt: chat, chosen: [assistant('yes')], rejected: [assistant('no')] }],
    ['answers as texts', { prompt: chat, chosen: 'yes', rejected: 'no' }],
    ['whole conversations', { chosen: [...chat, assistant('yes')], rejected: [...chat, assistant('no')] }],
    ['both', { prompt: chat, chosen: [...chat, assistant('yes')], rejected: [assistant('no')] }],
  ])('reads %s', async (_, record) => {
    const { rows } = await readRecords('conversational', record);
    expect(rows[0]).toMatchObject({
      prompt: { kind: 'chat', messages: chat },
      chosen: 'yes',
      rejected: 'no',
    });
  });

  it.each([
    [{ prompt: 'Q', chosen: 'a', rejected: 'b' }, 'field "prompt": Expected a list of messages'],
    [{ prompt: [], chosen: 'a', rejected: 'b' }, 'field "prompt"'],
    [
      { prompt: [user('Q'), { role: 'pilot', content: '' }], chosen: 'a', rejected: 'b' },
      'field "prompt[1]"',
    ],
    [
      { prompt: [{ role: 'user' }], chosen: 'a', rejected: 'b' },
      'field "prompt[0]": Missing; expected a text as content',
    ],
    [{ prompt: [null], chosen: 'a', rejected: 'b' }, 'field "prompt[0]"'],
    [{ prompt: [assistant('Q')], chosen: 'a', rejected: 'b' }, 'does not end in a user turn'],
    [
      { prompt: [user('Q')], chosen: [user('a')], rejected: 'b' },
      'field "chosen": Expected one assistant message',
    ],
    [
      { chosen: [user('Q'), assistant('a')], rejected: [user('R'), assistant('b')] },
      'does not end in a user turn',
    ],
  ])('refuses %j', async (record, message) => {
    expect((await errorOf(readRecords('conversational', record))).message).toContain(message);
  });
});

describe('ultrafeedback', () => {
  it('reads answers as chats and as texts', async () => {
    const { rows } = await readRecords(
      'ultrafeedback',
      {
        prompt: 'Q',
        chosen: [user('Q'), assistant('yes')],
        rejected: [user('Q'), assistant('no')],
        score_chosen: 9,
      },
      { prompt: 'Q', chosen: 'yes', rejected: 'no', score_chosen: 9 },
    );
    for (const row of rows) {
      expect(row).toMatchObject({
        prompt: { kind: 'chat', messages: [user('Q')] },
        chosen: 'yes',
        rejected: 'no',
      });
    }
  });
});

describe('equal answers', () => {
  const chats = (answer: string, other: string) => ({
    chosen: [user('Q'), assistant(answer)],
    rejected: [user('Q'), assistant(other)],
  });
  const dialogues = (answer: string, other: string) => ({
    chosen: `\n\nHuman: Q\n\nAssistant: ${answer}`,
    rejected: `\n\nHuman: Q\n\nAssistant: ${other}`,
  });

  it.each([
    ['preference', pair, { ...pair, rejected: 'yes' }],
    ['ultrafeedback', pair, { ...pair, rejected: 'yes' }],
    ['conversational', chats('a', 'b'), chats('a', 'a')],
    ['hh', dialogues('a', 'b'), dialogues('a', 'a')],
  ] as const)('are left out and counted in %s; SFT keeps them', async (format, different, equal) => {
    const file = await save(jsonl([different, equal]), 'jsonl');
    const { rows, reports } = await readPreferenceRows([file], format);
    expect(rows).toHaveLength(1);
    expect(reports[0]).toMatchObject({ rows: 2, used: 1, skipped: { 'chosen equals rejected': 1 } });
    const sft = await readPreferenceRows([file], format, { method: 'sft' });
    expect(sft.reports[0]).toMatchObject({ rows: 2, used: 2, skipped: {} });
    const error = await errorOf(readRecords(format, equal));
    expect(error.message).toContain(
      'None of the 1 records gives anything to learn from (1: chosen equals rejected)',
    );
  });
});

describe('a limit on pairs', () => {
  it('ends reading: what stands behind it is not looked at', async () => {
    const file = await save(`${jsonl([{ ...pair, rejected: 'yes' }, pair, pair])}no JSON\n`, 'jsonl');
    const later = join(folder, 'not-opened.jsonl');
    const { rows, reports } = await readPreferenceRows([file, later], 'preference', { maxPairs: 2 });
    expect(rows.map(({ row }) => row)).toEqual([2, 3]);
    expect(reports).toMatchObject([{ rows: 3, used: 2, stoppedEarly: true }]);
  });
});

describe('kinds of files', () => {
  const records = [pair, { prompt: 'Ü\u2028\u{1F600}', chosen: 'a', rejected: 'b' }];
  const rowsOf = async (file: string) =>
    (await readPreferenceRows([file], 'preference')).rows.map(({ row, prompt, chosen, rejected }) => ({
      row,
      prompt: prompt.kind === 'text' ? prompt.text : '',
      chosen,
      rejected,
    }));
  const expected = records.map((record, index) => ({ row: index + 1, ...record }));

  it('reads .jsonl, .jsonl.gz, .json and .json.gz alike', async () => {
    for (const [extension, text] of [
      ['jsonl', jsonl(records)],
      ['jsonl', `\uFEFF${jsonl(records).replaceAll('\n', '\r\n').trimEnd()}`],
      ['json', JSON.stringify(records)],
    ] as const) {
      expect(await rowsOf(await save(text, extension))).toEqual(expected);
      expect(await rowsOf(await save(gzipSync(text), `${extension}.gz`))).toEqual(expected);
    }
  });

  it('counts lines, blank ones too', async () => {
    const rows = await rowsOf(await save(`\n${jsonl(records).replace('\n', '\n\n')}`, 'jsonl'));
    expect(rows.map(({ row }) => row)).toEqual([2, 4]);
  });

  it('joins what the stream splits', async () => {
    const long = { ...pair, prompt: 'äöü€😀'.repeat(40_000) };
    const rows = await rowsOf(await save(gzipSync(jsonl([long, pair])), 'jsonl.gz'));
    expect(rows.map(({ prompt }) => prompt)).toEqual([long.prompt, 'Q']);
  });

  it.each(['SNAPPY', 'GZIP', 'BROTLI', 'UNCOMPRESSED'] as const)(
    'reads Parquet, %s, in row groups',
    async codec => {
      const many = Array.from({ length: 25 }, (_, index) => ({ ...pair, prompt: `Q${index}` }));
      const file = await saveParquet(many, codec);
      const rows = await rowsOf(file);
      expect(rows).toEqual(many.map((record, index) => ({ row: index + 1, ...record })));
    },
  );

  it('reads conversations from Parquet', async () => {
    const file = join(folder, 'chat.parquet');
    const chats = (answer: string) => [
      [user('Q'), assistant(answer)],
      [user('R'), assistant(`${answer}!`)],
    ];
    const element = [
      { name: 'list', repetition_type: 'REPEATED' as const, num_children: 1 },
      { name: 'element', repetition_type: 'OPTIONAL' as const, num_children: 2 },
      {
        name: 'content',
        type: 'BYTE_ARRAY' as const,
        converted_type: 'UTF8' as const,
        repetition_type: 'OPTIONAL' as const,
      },
      {
        name: 'role',
        type: 'BYTE_ARRAY' as const,
        converted_type: 'UTF8' as const,
        repetition_type: 'OPTIONAL' as const,
      },
    ];
    const list = (name: string) => [
      { name, converted_type: 'LIST' as const, repetition_type: 'OPTIONAL' as const, num_children: 1 },
      ...element,
    ];
    parquetWriteFile({
      filename: file,
      schema: [{ name: 'root', num_children: 2 }, ...list('chosen'), ...list('rejected')],
      columnData: [
        { name: 'chosen', data: chats('yes') },
        { name: 'rejected', data: chats('no') },
      ],
    });
    const { rows } = await readPreferenceRows([file], 'conversational');
    expect(rows).toMatchObject([
      { row: 1, prompt: { messages: [user('Q')] }, chosen: 'yes', rejected: 'no' },
      { row: 2, prompt: { messages: [user('R')] }, chosen: 'yes!', rejected: 'no!' },
    ]);
  });

  it('names a column that a Parquet file lacks', async () => {
    const file = await saveParquet([{ prompt: 'Q', chosen: 'yes' }], 'SNAPPY');
    const error = await errorOf(readPreferenceRows([file], 'preference'));
    expect(error.message).toContain('.parquet:1, field "rejected": Missing');
  });

  it('reads several files in order', async () => {
    const one = await save(jsonl([pair]), 'jsonl');
    const two = await save(JSON.stringify([{ ...pair, prompt: 'R' }]), 'json');
    const { rows, reports } = await readPreferenceRows([two, one], 'preference');
    expect(rows.map(({ file, row }) => [file, row])).toEqual([
      [two, 1],
      [one, 1],
    ]);
    expect(reports.map(({ file }) => file)).toEqual([two, one]);
  });

  async function saveParquet(rows: readonly Record<string, string>[], codec: Codec) {
    const file = join(folder, `${files++}.parquet`);
    const columnData = Object.keys(rows[0]!).map(name => ({
      name,
      data: rows.map(row => row[name]!),
      type: 'STRING' as const,
    }));
    const compressors = { GZIP: gzipSync, BROTLI: brotliCompressSync };
    parquetWriteFile({ filename: file, columnData, codec, compressors, rowGroupSize: 10 });
    return file;
  }
});

describe('damaged and wrong files', () => {
  const compressed = gzipSync(
    jsonl(Array.from({ length: 500 }, (_, i) => ({ ...pair, prompt: `${i}`.repeat(9) }))),
  );

  it.each([
    ['cut.jsonl.gz', compressed.subarray(0, compressed.length - 40), 'damaged or incomplete'],
    ['no.jsonl.gz', Buffer.from('{"chosen":1}'), 'damaged or incomplete'],
    ['no.parquet', Buffer.from('not parquet at all'), 'The Parquet file cannot be read'],
    ['bad.jsonl', Buffer.from(`${jsonl([pair])}{"prompt":\n`), 'bad.jsonl:2: This is not valid JSON'],
    ['bad.json', Buffer.from('[{]'), 'This is not valid JSON'],
    ['text.json', Buffer.from('"{}"'), 'Expected a JSON array'],
    ['empty.jsonl', Buffer.from('\n'), 'The file holds no record.'],
    ['rows.xlsx', Buffer.from('a,b'), 'Supported: .jsonl'],
  ])('%s', async (name, content, message) => {
    const file = join(folder, name);
    await writeFile(file, content);
    const error = await errorOf(readPreferenceRows([file], 'preference'));
    expect(error.message).toContain(file);
    expect(error.message).toContain(message);
  });

  it.each(['jsonl', 'jsonl.gz', 'json', 'parquet'])(
    'missing .%s, and a folder in its place',
    async extension => {
      const file = join(folder, `missing.${extension}`);
      expect((await errorOf(readPreferenceRows([file], 'hh'))).message).toContain('cannot be read (ENOENT');
      await mkdir(file);
      expect((await errorOf(readPreferenceRows([file], 'hh'))).message).toContain('cannot be read');
    },
  );
});
