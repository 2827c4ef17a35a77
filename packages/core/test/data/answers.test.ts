import { writeFile } from 'node:fs/promises';
import { parquetWriteFile } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import { readRows } from '../../src/data/read.js';
import { DEFAULT_READING } from '../../src/data/reading.js';
import { plainSource } from '../../src/data/source.js';
import { assistant, fileNamed, messageOf, published, save, user } from './rows-of.js';

const kto = published('kto_en_demo.json');

const reading = { ...DEFAULT_READING, method: 'sft' } as const;
const read = async (...records: unknown[]) => readRows([plainSource([await save(...records)])], reading);

/** The row of a record, without its place. */
async function rowOf(record: unknown): Promise<object> {
  const { rows } = await read(record);
  expect(rows).toHaveLength(1);
  const { file, row, ...content } = rows[0]!;
  expect([file.endsWith('.jsonl'), row]).toEqual([true, 1]);
  return content;
}

const system = (content: string) => ({ role: 'system', content });
const chat = [user('Q'), assistant('A')];
const calls = [{ type: 'function', function: { name: 'find', arguments: { what: 'dog' } } }];

describe('what only SFT learns from is known by its fields', () => {
  it.each([
    ['prompt-completion', ['prompt', 'completion'], { prompt: 'Q', completion: ' A' }],
    [
      'prompt-completion',
      ['instruction', 'input', 'output'],
      { instruction: 'Q', input: 'more', output: 'A' },
    ],
    ['prompt-completion', ['question', 'answer'], { question: 'Q', answer: 'A' }],
    ['prompt-completion', ['prompt', 'response', 'label'], { prompt: 'Q', response: 'A', label: true }],
    ['prompt-completion', ['prompt', 'completion'], { prompt: [user('Q')], completion: [assistant('A')] }],
    ['messages', ['messages'], { messages: chat, id: 3 }],
    ['messages', ['messages', 'label'], { messages: chat, label: true }],
    [
      'messages',
      ['conversations'],
      {
        conversations: [
          { from: 'human', value: 'Q' },
          { from: 'gpt', value: 'A' },
        ],
      },
    ],
    ['text', ['text'], { text: 'Once.', label: 3 }],
    // What has pairs is read as pairs, of which SFT takes the chosen answers.
    [
      'conversational',
      ['chosen', 'rejected'],
      { chosen: chat, rejected: [user('Q'), assistant('B')], messages: chat },
    ],
  ])('%s by %s', async (format, by, record) => {
    const { reports } = await read(record);
    expect(reports).toMatchObject([{ format, by, used: 1 }]);
  });

  it('and is refused by name for methods that learn from pairs', async () => {
    const file = await save({ messages: chat, label: true });
    const message = await messageOf(readRows([plainSource([file])], { ...reading, method: 'sr-dpo' }));
    expect(message).toContain('sr-dpo learns from pairs of answers');
    expect(message).toContain(
      '(messages: messages, label) hold single answers, each marked as good or bad (KTO). Use method: sft',
    );
  });
});

describe('an answer to a prompt', () => {
  it('is a text to a text, taken as it is', async () => {
    expect(await rowOf({ prompt: 'Q:', completion: ' A' })).toEqual({
      kind: 'completion',
      prompt: { kind: 'text', text: 'Q:' },
      completion: ' A',
    });
  });

  it('is a message to messages, with the system text and the tools', async () => {
    const tools = [{ type: 'function', function: { name: 'find' } }];
    const record = { prompt: [user('Q')], completion: [assistant('A')], system: 'S', tools };
    const expected = {
      kind: 'completion',
      prompt: { kind: 'chat', messages: [system('S'), user('Q')], tools },
      completion: 'A',
    };
    expect(await rowOf(record)).toEqual(expected);
    expect(await rowOf({ ...record, tools: JSON.stringify(tools) })).toEqual(expected);
    expect(await rowOf({ ...record, completion: 'A' })).toEqual(expected);
  });

  it('of several messages is a conversation that begins with the prompt', async () => {
    const completion = [
      { role: 'assistant', tool_calls: calls },
      { role: 'tool', content: 'here' },
      assistant('A'),
    ];
    expect(await rowOf({ prompt: [user('Q')], completion })).toEqual({
      kind: 'conversation',
      messages: [user('Q'), { role: 'assistant', content: null, tool_calls: calls }, ...completion.slice(1)],
      tools: null,
      firstTrained: 1,
    });
  });
});

describe('a conversation', () => {
  it('keeps what a template reads of tools, and leaves out fields that are null', async () => {
    const messages = [
      user('Q'),
      { role: 'assistant', content: null, tool_calls: calls, name: null },
      { role: 'tool', content: 'here', tool_call_id: 'c1', time: 3 },
      { ...assistant('A'), tool_calls: [], reasoning_content: 'Hm.' },
    ];
    expect(await rowOf({ messages, tools: [] })).toEqual({
      kind: 'conversation',
      messages: [
        user('Q'),
        { role: 'assistant', content: null, tool_calls: calls },
        { role: 'tool', content: 'here', tool_call_id: 'c1' },
        { ...assistant('A'), reasoning_content: 'Hm.' },
      ],
      tools: null,
      firstTrained: 0,
    });
  });

  it('of ShareGPT has observations and calls of functions', async () => {
    const conversations = [
      { from: 'human', value: 'Q' },
      { from: 'function_call', value: '{"name": "find", "arguments": {"what": "dog"}}' },
      { from: 'observation', value: 'here' },
      { from: 'gpt', value: 'A' },
    ];
    expect(await rowOf({ conversations, system: 'S', tools: '' })).toEqual({
      kind: 'conversation',
      messages: [
        system('S'),
        user('Q'),
        { role: 'assistant', content: null, tool_calls: calls },
        { role: 'tool', content: 'here' },
        assistant('A'),
      ],
      tools: null,
      firstTrained: 0,
    });
  });

  it('has the text of contents that are given in parts', async () => {
    const parts = [
      { type: 'text', text: 'a' },
      { type: 'text', text: 'b' },
    ];
    expect(await rowOf({ messages: [{ role: 'user', content: parts }, assistant('A')] })).toMatchObject({
      messages: [user('ab'), assistant('A')],
    });
    const image = [{ role: 'user', content: [{ type: 'image' }] }, assistant('A')];
    expect(await messageOf(read({ messages: image }))).toContain(
      'field "messages[0]": Expected a text as content',
    );
  });

  it('from Parquet has no field that only other rows have', async () => {
    const file = fileNamed('chats.parquet');
    const data = [
      [user('Q'), { role: 'assistant', content: null, tool_calls: calls }],
      [user('Q'), { ...assistant('A'), tool_calls: null }],
    ];
    parquetWriteFile({ filename: file, columnData: [{ name: 'messages', data, type: 'JSON' }] });
    const { rows } = await readRows([plainSource([file])], reading);
    expect(rows).toMatchObject([{ messages: data[0] }, { messages: [user('Q'), assistant('A')] }]);
    expect(Object.keys((rows[1] as unknown as { messages: object[] }).messages[1]!)).toEqual([
      'role',
      'content',
    ]);
  });

  it('keeps what is null in JSON: in calls, in tools, and in both as text', async () => {
    const withNull = { name: 'find', arguments: { what: 'dog', where: null } };
    const called = { role: 'assistant', content: null, tool_calls: [{ function: withNull }] };
    const tools = [{ name: 'find', parameters: { default: null } }];
    const messages = [user('Q'), called];
    for (const given of [tools, JSON.stringify(tools)])
      expect(await rowOf({ messages, tools: given })).toMatchObject({ messages, tools });
    const conversations = [
      { from: 'human', value: 'Q' },
      { from: 'function_call', value: JSON.stringify(withNull) },
    ];
    expect(await rowOf({ conversations })).toMatchObject({
      messages: [user('Q'), { tool_calls: [{ function: withNull }] }],
    });
  });

  it('from Parquet has no null of a struct, and those of its JSON', async () => {
    const file = fileNamed('structs.parquet');
    const text = { type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' } as const;
    const calling = { role: 'assistant', content: null, tool_calls: [{ arguments: { where: null } }] };
    parquetWriteFile({
      filename: file,
      schema: [
        { name: 'root', num_children: 2 },
        { name: 'messages', type: 'BYTE_ARRAY', converted_type: 'JSON', repetition_type: 'OPTIONAL' },
        { name: 'tools', converted_type: 'LIST', repetition_type: 'OPTIONAL', num_children: 1 },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', repetition_type: 'OPTIONAL', num_children: 2 },
        { name: 'name', ...text },
        { name: 'unit', ...text },
      ],
      columnData: [
        { name: 'messages', data: [[user('Q'), calling]] },
        {
          name: 'tools',
          data: [
            [
              { name: 'find', unit: null },
              { name: 'weigh', unit: 'g' },
            ],
          ],
        },
      ],
    });
    const { rows } = await readRows([plainSource([file])], reading);
    expect(rows).toEqual([
      expect.objectContaining({
        messages: [user('Q'), calling],
        tools: [{ name: 'find' }, { name: 'weigh', unit: 'g' }],
      }),
    ]);
  });

  it('is refused with the field that does not fit', async () => {
    const wrong = (...messages: unknown[]) =>
      messageOf(read({ messages: [user('Q'), ...messages, assistant('A')] }));
    expect(await wrong({ role: 'pilot', content: 'x' })).toMatch(
      /:1, field "messages\[1\]": Expected the role system, user, assistant or tool, found "pilot"/,
    );
    expect(await wrong({ role: 'tool', content: null })).toMatch(
      /field "messages\[1\]": Missing; expected a text/,
    );
    expect(await messageOf(read({ messages: chat, tools: '{' }))).toMatch(/field "tools": Expected JSON/);
    const deep = `${'['.repeat(5000)}${']'.repeat(5000)}`;
    expect(await messageOf(read({ messages: chat, tools: deep }))).toMatch(
      /field "tools": The value has more than 100 levels of nesting/,
    );
    expect(await messageOf(read({ messages: chat, tools: 'null' }))).toMatch(
      /field "tools": Expected a list/,
    );
    const call = [
      { from: 'human', value: 'Q' },
      { from: 'function_call', value: '3' },
    ];
    expect(await messageOf(read({ conversations: call }))).toMatch(
      /field "conversations\[1\]": Expected a call/,
    );
  });
});

describe('records that give nothing to learn are counted', () => {
  it.each([
    ['no turn of the assistant', { messages: [user('Q')] }, { messages: chat }],
    ['an empty text', { text: ' \n' }, { text: 'a' }],
    [
      'marked as undesirable (label: false)',
      { messages: chat, label: false },
      { messages: chat, label: true },
    ],
    [
      'marked as undesirable (label: false)',
      { prompt: 'Q', completion: 'A', label: false },
      { prompt: 'Q', completion: 'A', label: true },
    ],
    [
      'marked as undesirable (label: false)',
      { messages: chat, kto_tag: false },
      { messages: chat, kto_tag: true },
    ],
    [
      'marked as undesirable (label: false)',
      { messages: chat, kto_tag: 'False' },
      { messages: chat, kto_tag: 'True' },
    ],
  ])('%s: %j', async (reason, without, record) => {
    const { rows, reports } = await read(without, record, record);
    expect(rows.map(({ row }) => row)).toEqual([2, 3]);
    expect(reports).toMatchObject([{ rows: 3, used: 2, skipped: { [reason]: 1 } }]);
  });

  it.each([
    ['False', 'True'],
    ['false', 'true'],
    ['0', '1'],
    ['0.0', '1.0'],
    [0, 1],
  ])('marked as tables and other languages do: %j and %j', async (bad, good) => {
    const answer = { prompt: 'Q', completion: 'A' };
    const { rows, reports } = await read({ ...answer, label: bad }, { ...answer, label: good });
    expect(rows.map(({ row }) => row)).toEqual([2]);
    expect(reports).toMatchObject([{ skipped: { 'marked as undesirable (label: false)': 1 } }]);
  });

  it('of tables the undesirable half', async () => {
    const csv = fileNamed('kto.csv');
    await writeFile(csv, 'prompt,completion,label\nQ,bad,False\nQ,good,True\n');
    const parquet = fileNamed('kto.parquet');
    parquetWriteFile({
      filename: parquet,
      columnData: [
        { name: 'prompt', data: ['Q', 'Q'], type: 'STRING' },
        { name: 'completion', data: ['bad', 'good'], type: 'STRING' },
        { name: 'label', data: [0n, 1n], type: 'INT64' },
      ],
    });
    for (const file of [csv, parquet]) {
      const { rows, reports } = await readRows([plainSource([file])], reading);
      expect(rows).toMatchObject([{ completion: 'good' }]);
      expect(reports).toMatchObject([{ by: ['prompt', 'completion', 'label'] }]);
      const refused = await messageOf(readRows([plainSource([file])], { ...reading, method: 'dpo' }));
      expect(refused).toContain('each marked as good or bad (KTO)');
    }
  });

  it.each(['sports', 2, -1, '', [true], { value: true }])('and a label of %j is an error', async label => {
    const message = await messageOf(read({ prompt: 'Q', completion: 'A', label }));
    expect(message).toMatch(/:1, field "label": Expected true or false \(whether the answer is a good one\)/);
    expect(await messageOf(read({ messages: chat, label: true, kto_tag: label }))).toContain('"kto_tag"');
  });

  it('of kto_en_demo the undesirable half', async () => {
    const { rows, reports } = await readRows([plainSource([kto])], reading);
    expect(rows.map(({ row }) => row)).toEqual([1, 3, 5]);
    expect(reports).toMatchObject([
      {
        format: 'messages',
        by: ['messages', 'label'],
        kind: 'chat',
        skipped: { 'marked as undesirable (label: false)': 3 },
      },
    ]);
  });
});

describe('preference data with tools', () => {
  const tools = [{ type: 'function', function: { name: 'find' } }];
  const pairs = { ...DEFAULT_READING };

  it('keep them, and answers that call one', async () => {
    const call = { role: 'assistant', content: null, tool_calls: calls };
    const asked = [user('Q'), call, { role: 'tool', content: 'here' }];
    const record = { prompt: asked, chosen: [assistant('A')], rejected: [call], tools };
    const { rows } = await readRows([plainSource([await save(record)])], pairs);
    expect(rows).toMatchObject([
      { kind: 'pair', prompt: { kind: 'chat', messages: asked, tools }, chosen: 'A', rejected: call },
    ]);
  });

  it('are no pair where both answers make the same call', async () => {
    const call = [user('Q'), { role: 'assistant', content: null, tool_calls: calls }];
    const record = { chosen: call, rejected: call, tools };
    const other = { ...record, rejected: [user('Q'), assistant('B')] };
    const { rows, reports } = await readRows([plainSource([await save(record, other)])], pairs);
    expect(rows).toHaveLength(1);
    expect(reports).toMatchObject([{ skipped: { 'chosen equals rejected': 1 } }]);
  });
});
