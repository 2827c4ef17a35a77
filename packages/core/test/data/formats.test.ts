import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parquetWriteFile } from 'hyparquet-writer';
import { beforeAll, describe, expect, it } from 'vitest';
import { FORMAT_NAMES, FORMATS } from '../../src/data/formats/index.js';
import { readPreferenceRows } from '../../src/data/read.js';
import { SralignError } from '../../src/errors.js';

const published = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/data/preference/${name}`, import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sralign-formats-'));
});

let files = 0;
async function save(...records: unknown[]): Promise<string> {
  const file = join(folder, `${files++}.jsonl`);
  await writeFile(file, records.map(record => `${JSON.stringify(record)}\n`).join(''));
  return file;
}

type Options = Parameters<typeof readPreferenceRows>[2];
type Named = Parameters<typeof readPreferenceRows>[1];

const read = async (options: Options, ...records: unknown[]) =>
  readPreferenceRows([await save(...records)], 'auto', options);

/** The pairs of records: prompt (a text, or messages as "role: content"), chosen, rejected. */
async function pairsOf(options: Options, ...records: unknown[]) {
  const { rows } = await read(options, ...records);
  return rows.map(({ prompt, chosen, rejected }) => [
    prompt.kind === 'text' ? prompt.text : prompt.messages.map(({ role, content }) => `${role}: ${content}`),
    chosen,
    rejected,
  ]);
}

async function messageOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => null,
    cause => cause,
  );
  expect(error).toBeInstanceOf(SralignError);
  expect(error.exitCode).toBe(2);
  return error.message;
}

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const pair = { prompt: 'Q', chosen: 'good', rejected: 'bad' };

describe('data.format: auto', () => {
  it.each([
    ['preference', ['prompt', 'chosen', 'rejected'], pair, ['Q', 'good', 'bad']],
    [
      'preference',
      ['instruction', 'input', 'chosen', 'rejected'],
      { instruction: 'Sum up.', input: 'A text.', chosen: 'good', rejected: 'bad' },
      ['Sum up.\n\nA text.', 'good', 'bad'],
    ],
    [
      'preference',
      ['instruction', 'chosen_response', 'rejected_response'],
      { instruction: 'Q', chosen_response: 'good', rejected_response: 'bad', chosen_avg_rating: 5 },
      ['Q', 'good', 'bad'],
    ],
    [
      'orca',
      ['system', 'question', 'chosen', 'rejected'],
      { system: 'Be brief.', question: 'Q', chosen: 'good', rejected: 'bad' },
      [['system: Be brief.', 'user: Q'], 'good', 'bad'],
    ],
    [
      'orca',
      ['system', 'question', 'chosen', 'rejected'],
      { system: '', question: 'Q', chosen: 'good', rejected: 'bad' },
      [['user: Q'], 'good', 'bad'],
    ],
    [
      'preference',
      ['system', 'prompt', 'chosen', 'rejected'],
      { ...pair, system: 'Be brief.' },
      [['system: Be brief.', 'user: Q'], 'good', 'bad'],
    ],
    [
      'conversational',
      ['prompt', 'chosen', 'rejected'],
      { prompt: [user('Q')], chosen: [assistant('good')], rejected: [assistant('bad')] },
      [['user: Q'], 'good', 'bad'],
    ],
    [
      'conversational',
      ['chosen', 'rejected'],
      { chosen: [user('Q'), assistant('good')], rejected: [user('Q'), assistant('bad')], 'chosen-rating': 5 },
      [['user: Q'], 'good', 'bad'],
    ],
    [
      'ultrafeedback',
      ['prompt', 'chosen', 'rejected'],
      { prompt: 'Q', chosen: [user('Q'), assistant('good')], rejected: [user('Q'), assistant('bad')] },
      [['user: Q'], 'good', 'bad'],
    ],
    [
      'ultrafeedback',
      ['prompt', 'chosen', 'rejected'],
      { prompt: 'Q', chosen: [assistant('good')], rejected: [assistant('bad')] },
      [['user: Q'], 'good', 'bad'],
    ],
    [
      'hh',
      ['chosen', 'rejected'],
      { chosen: '\n\nHuman: Q\n\nAssistant: good', rejected: '\n\nHuman: Q\n\nAssistant: bad' },
      ['\n\nHuman: Q\n\nAssistant:', ' good', ' bad'],
    ],
    [
      'sharegpt',
      ['conversations', 'chosen', 'rejected'],
      {
        conversations: [
          { from: 'system', value: 'S' },
          { from: 'human', value: 'Q' },
        ],
        chosen: { from: 'gpt', value: 'good' },
        rejected: { from: 'gpt', value: 'bad' },
      },
      [['system: S', 'user: Q'], 'good', 'bad'],
    ],
    [
      'compared',
      ['history', 'human_ref_A', 'human_ref_B', 'score_A', 'score_B'],
      { history: 'Q', human_ref_A: 'bad', human_ref_B: 'good', labels: 0, score_A: 8, score_B: 34 },
      ['Q', 'good', 'bad'],
    ],
    [
      'compared',
      ['prompt', 'answer_1', 'answer_2', 'score_1', 'score_2'],
      { prompt: 'Q', answer_1: 'good', answer_2: 'bad', score_1: '4.5', score_2: '3' },
      ['Q', 'good', 'bad'],
    ],
    [
      'compared',
      ['prompt', 'response_1', 'response_2', 'preference_strength'],
      { prompt: 'Q', response_1: 'good', response_2: 'bad', preference_strength: -2 },
      ['Q', 'good', 'bad'],
    ],
    [
      'compared',
      ['prompt', 'response_0', 'response_1', 'better_response_id'],
      { prompt: 'Q', response_0: 'bad', response_1: 'good', better_response_id: 1, safer_response_id: 0 },
      ['Q', 'good', 'bad'],
    ],
    [
      'ranked',
      ['question', 'answers[].text', 'answers[].pm_score'],
      {
        question: 'Q',
        answers: [
          { text: 'bad', pm_score: 0 },
          { text: 'good', pm_score: 3 },
        ],
      },
      ['Q', 'good', 'bad'],
    ],
    [
      'ranked',
      ['prompt', 'answers', 'scores'],
      { prompt: 'Q', answers: ['middle', 'bad', 'good'], scores: [3, 1, 7.5] },
      ['Q', 'good', 'bad'],
    ],
    [
      'ranked',
      ['prompt', 'answers', 'ranks'],
      { prompt: 'Q', answers: ['middle', 'bad', 'good'], ranks: [2, 3, 1] },
      ['Q', 'good', 'bad'],
    ],
    [
      'ranked',
      ['instruction', 'completions[].response', 'completions[].overall_score'],
      {
        instruction: 'Q',
        completions: [
          { model: 'a', response: 'bad', overall_score: 2 },
          { model: 'b', response: 'good', overall_score: 8.5 },
        ],
      },
      ['Q', 'good', 'bad'],
    ],
    [
      'ranked',
      ['prompt', 'answers[].answer', 'answers[].rank'],
      {
        prompt: 'Q',
        answers: [
          { answer: 'bad', rank: 7 },
          { answer: 'good', rank: 1 },
        ],
      },
      ['Q', 'good', 'bad'],
    ],
  ] as const)('recognises %s by %j', async (format, by, record, expected) => {
    const { reports } = await read({}, { id: 7, ...record });
    expect(reports).toMatchObject([
      { format, by, kind: typeof expected[0] === 'string' ? 'text' : 'chat', rows: 1, used: 1 },
    ]);
    expect(await pairsOf({}, record)).toEqual([expected]);
    // A format that is named reads what it is recognised in.
    const { rows } = await readPreferenceRows([await save(record)], format);
    expect(rows).toHaveLength(1);
  });

  it('decides by most of the first records, for each file', async () => {
    const odd = { ...pair, prompt: null };
    const file = await save(odd, pair, pair);
    const hh = await save({
      chosen: '\n\nHuman: Q\n\nAssistant: a',
      rejected: '\n\nHuman: Q\n\nAssistant: b',
    });
    const { rows, reports } = await readPreferenceRows([file, hh], 'auto', { onBadRow: 'skip' });
    expect(rows.map(({ row }) => row)).toEqual([2, 3, 1]);
    expect(reports.map(({ format }) => format)).toEqual(['preference', 'hh']);
  });

  it('says what it found beside what each format needs', async () => {
    const message = await messageOf(
      read({}, { query: 'Q', good_answer: 'a', votes: [3, 4], meta: { lang: 'en' }, turns: [user('Q')] }),
    );
    expect(message).toContain(
      'Found: query (text), good_answer (text), votes (list of number), meta ({lang}), turns (messages).',
    );
    const ofPairs = FORMAT_NAMES.filter(name => FORMATS[name].gives === 'pairs');
    expect(ofPairs.length).toBeLessThan(FORMAT_NAMES.length);
    for (const name of ofPairs) expect(message).toMatch(new RegExp(`^ {2}${name} .*\\S`, 'm'));
    expect(message).toMatch(/^ {2}preference +prompt, chosen, rejected/m);
    expect(message).toContain('data.columns');
  });

  it('names columns of Parquet that no format reads', async () => {
    const file = join(folder, 'other.parquet');
    const column = (name: string) => ({ name, data: ['a'], type: 'STRING' as const });
    parquetWriteFile({ filename: file, columnData: [column('ask'), column('better'), column('worse')] });
    expect(await messageOf(readPreferenceRows([file]))).toContain(
      'Found: ask (text), better (text), worse (text).',
    );
    const columns = { prompt: 'ask', chosen: 'better', rejected: 'wrose' };
    expect(await messageOf(readPreferenceRows([file], 'auto', { columns }))).toContain(
      'field "wrose": There is no column "wrose", from which data.columns reads rejected. The file has: ask, better, worse.',
    );
    const { rows } = await readPreferenceRows([file], 'auto', {
      columns: { ...columns, rejected: 'worse' },
      method: 'sft',
    });
    expect(rows).toMatchObject([{ prompt: { text: 'a' }, chosen: 'a', rejected: 'a' }]);
  });

  it('refuses a format that is none, from TypeScript too', async () => {
    const message = await messageOf(readPreferenceRows([await save(pair)], 'dpo' as Named));
    expect(message).toMatch(/^field "data\.format": Expected one of auto, .*preference.*, found "dpo"\.$/);
  });
});

describe('data.columns', () => {
  const record = { question: 'Q', answer_good: 'good', answer_bad: 'bad', prompt: 'not this', id: 3 };
  const columns = { prompt: 'question', chosen: 'answer_good', rejected: 'answer_bad' };

  it('an input stands alone where the instruction is empty', async () => {
    const record = { instruction: '', input: 'INPUT', chosen: 'good', rejected: 'bad' };
    expect(await pairsOf({}, record)).toEqual([['INPUT', 'good', 'bad']]);
    expect(await messageOf(read({}, { ...record, input: '' }))).toContain('The prompt is empty');
  });

  it('names the fields of a format, and other columns are ignored', async () => {
    expect(await pairsOf({ columns }, record)).toEqual([['Q', 'good', 'bad']]);
    const swapped = { columns: { chosen: 'rejected', rejected: 'chosen' } };
    expect(await pairsOf(swapped, pair)).toEqual([['Q', 'bad', 'good']]);
  });

  it('makes a chat of texts with a system column', async () => {
    const withSystem = { columns: { ...columns, system: 'persona' } };
    expect(await pairsOf(withSystem, { ...record, persona: 'Be brief.' })).toEqual([
      [['system: Be brief.', 'user: Q'], 'good', 'bad'],
    ]);
  });

  it('serves every format', async () => {
    const options = { columns: { answers: 'candidates', scores: 'reward', prompt: 'ask' } };
    const ranked = { ask: 'Q', candidates: ['a', 'b'], reward: [0, 1] };
    expect(await pairsOf(options, ranked)).toEqual([['Q', 'b', 'a']]);
  });

  it('reach into a column', async () => {
    const record = {
      question: { dataset: 'eli5', full_text: 'Q' },
      answer_0: 'bad',
      answer_1: 'good',
      score_0: -1,
      score_1: 1,
    };
    const nested = { columns: { prompt: 'question.full_text' } };
    expect(await pairsOf(nested, record)).toEqual([['Q', 'good', 'bad']]);
    expect(await messageOf(read(nested, record, { ...record, question: 'Q' }))).toContain(
      'jsonl:2, field "question.full_text": Missing',
    );
  });

  it.each([
    [
      'a label, not the scores beside it',
      { answer_1: 'a', answer_2: 'b', label: 'winner' },
      { prompt: 'Q', a: 'bad', b: 'good', winner: 2, score_1: 9, score_2: 1 },
      'compared',
    ],
    [
      'votes, not the label beside them',
      { annotator1: 'vote' },
      { prompt: 'Q', answer_1: 'bad', answer_2: 'good', vote: 2, label: 1 },
      'compared',
    ],
    [
      'two answers of others',
      { response_1: 'a', response_2: 'b' },
      { prompt: 'Q', answer_1: 'x', answer_2: 'y', a: 'good', b: 'bad', score_1: 9, score_2: 1 },
      'compared',
    ],
    [
      'the prompt, not others beside it',
      { question: 'ask' },
      { ask: 'Q', prompt: 'not this', instruction: 'nor this', chosen: 'good', rejected: 'bad' },
      'preference',
    ],
    [
      'the answers, not others beside them',
      { chosen_response: 'a', rejected_response: 'b' },
      { ...pair, chosen: 'not this', rejected: 'nor this', a: 'good', b: 'bad' },
      'preference',
    ],
    [
      'ratings, not scores',
      { ratings: 'reward' },
      { prompt: 'Q', answers: ['good', 'bad'], scores: [0, 1], reward: [1, 0] },
      'ranked',
    ],
    [
      'two answers, not the pair beside them',
      { answer_1: 'a', answer_2: 'b' },
      { prompt: 'Q', a: 'good', b: 'bad', score_1: 9, score_2: 1, chosen: 'x', rejected: 'y' },
      'compared',
    ],
  ])('is what counts: %s', async (_, columns, record, format) => {
    expect(await pairsOf({ columns }, record)).toEqual([['Q', 'good', 'bad']]);
    expect((await read({ columns }, record)).reports).toMatchObject([{ format }]);
  });

  it('keeps an input that continues an instruction', async () => {
    const record = { task: 'Sum up.', input: 'A text.', prompt: 'not this', chosen: 'good', rejected: 'bad' };
    expect(await pairsOf({ columns: { instruction: 'task' } }, record)).toEqual([
      ['Sum up.\n\nA text.', 'good', 'bad'],
    ]);
  });

  it('may name a system text, tools or an input that the first records lack', async () => {
    const plain = Array.from({ length: 20 }, () => ({ task: 'Q', chosen: 'good', rejected: 'bad' }));
    const last = { ...plain[0], persona: 'S', functions: [{ name: 'find' }], context: 'C' };
    const columns = { instruction: 'task', system: 'persona', tools: 'functions', input: 'context' };
    const { rows } = await read({ columns }, ...plain, last);
    expect(rows[0]!.prompt).toEqual({ kind: 'chat', messages: [user('Q')] });
    expect(rows[20]!.prompt).toEqual({
      kind: 'chat',
      messages: [{ role: 'system', content: 'S' }, user('Q\n\nC')],
      tools: [{ name: 'find' }],
    });
    const wrong = { columns: { ...columns, tools: 'function' } };
    expect(await messageOf(read(wrong, ...plain, last))).toContain(
      'field "function": No record has the column "function", from which data.columns reads tools.',
    );
    expect(await messageOf(read({ columns: { chosen: 'best' } }, ...plain))).toContain(
      'There is no column "best"',
    );
    const shards = [await save(plain[0]), await save(last)];
    expect((await readPreferenceRows(shards, 'auto', { columns })).rows).toHaveLength(2);
    const first = { columns, maxPairs: 1, limit: 'first' } as const;
    expect((await readPreferenceRows(shards, 'auto', first)).rows).toHaveLength(1);
  });

  it('says that no format reads all that it names', async () => {
    expect(await messageOf(read({ columns: { text: 'article' } }, { ...pair, article: 'Once.' }))).toMatch(
      /holds|hold single answers/,
    );
    const columns = { text: 'article', chosen: 'good' };
    const message = await messageOf(read({ columns }, { article: 'Once.', good: 'x', rejected: 'y' }));
    expect(message).toContain('A format must read all that data.columns names: text, chosen.');
  });

  it('has the errors name the column of the file', async () => {
    expect(await messageOf(read({ columns }, record, { ...record, answer_bad: 7 }))).toMatch(
      /jsonl:2, field "answer_bad": Expected a text, found 7\./,
    );
  });
});

describe('labels', () => {
  const compared = (label: unknown) => ({ prompt: 'Q', answer_1: 'one', answer_2: 'two', label });
  const chosen = (pairs: unknown[][]) => pairs.map(([, first]) => first);

  it('of answers that count from 0 count from 0', async () => {
    const from0 = (label: unknown) => ({ prompt: 'Q', response_0: 'zero', response_1: 'one', label });
    const records = [from0(1), from0(0), from0('0'), from0('tie')];
    expect(chosen(await pairsOf({}, ...records))).toEqual(['one', 'zero', 'zero']);
    expect(await messageOf(read({}, from0(2)))).toMatch(
      /"label": Expected 0 \(the first answer is better\), 1/,
    );
    const named = { columns: { answer_0: 'a', answer_1: 'b', label: 'winner' } };
    expect(await pairsOf(named, { prompt: 'Q', a: 'bad', b: 'good', winner: 1 })).toEqual([
      ['Q', 'good', 'bad'],
    ]);
  });

  it('that are 0 and 1 and never 2 are refused: one more and no tie would be ties and first answers', async () => {
    const message = await messageOf(read({}, compared(1), compared(0), compared(1)));
    expect(message).toMatch(/jsonl:2, field "label": The labels are 0 and 1, never 2/);
    expect(message).toContain('0 is a tie, 1 the first, 2 the second');
    const columns = { columns: { label: 'winner' } };
    const renamed = [0, 1].map(winner => ({ ...compared(undefined), winner }));
    expect(await messageOf(read(columns, ...renamed))).toContain('field "winner": The labels are 0 and 1');
    const first = { maxPairs: 1, limit: 'first' } as const;
    expect(await messageOf(read(first, compared(0), compared(1), compared(2)))).toContain('The labels are');
  });

  it('are looked at in all files of a source', async () => {
    const shards = [await save(compared(0), compared(1)), await save(compared(2))];
    expect((await readPreferenceRows(shards)).rows).toHaveLength(2);
    expect((await readPreferenceRows([await save(compared('tie'), compared(1))])).rows).toHaveLength(1);
  });
});

describe('a prompt of messages', () => {
  const asked = [user('Q1'), assistant('A1'), user('Q')];

  it.each(['prompt', 'question', 'input', 'history', 'instruction'])('is read from %s', async name => {
    const texts = { [name]: asked, chosen: 'good', rejected: 'bad' };
    const messages = { [name]: asked, chosen: [assistant('good')], rejected: [...asked, assistant('bad')] };
    const expected = [['user: Q1', 'assistant: A1', 'user: Q'], 'good', 'bad'];
    for (const record of [texts, messages]) {
      expect(await pairsOf({}, record)).toEqual([expected]);
      expect((await read({}, record)).reports).toMatchObject([{ format: 'conversational' }]);
    }
  });

  it.each([
    [[user('Q1'), assistant('A1')], /jsonl:1, field "history": The conversation .* not end in a user turn/],
    [
      [user('Q1')],
      /jsonl:1, field "chosen": Expected one assistant message after the messages of the prompt/,
    ],
  ])('is never dropped for answers that begin with others: %j', async (history, message) => {
    const [chosen, rejected] = ['good', 'bad'].map(text => [user('Q'), assistant(text)]);
    expect(await messageOf(read({}, { history, chosen, rejected }))).toMatch(message);
  });
});

describe('data.chat', () => {
  it('makes chats of texts, of dialogues too', async () => {
    expect(await pairsOf({ chat: true }, pair)).toEqual([[['user: Q'], 'good', 'bad']]);
    const start = '\n\nHuman: Hi \n\nAssistant: Hello.\n\nHuman: Q\n\nAssistant:';
    const dialogues = { chosen: `${start} good`, rejected: `${start} bad\n` };
    expect(await pairsOf({ chat: true }, dialogues)).toEqual([
      [['user: Hi', 'assistant: Hello.', 'user: Q'], 'good', 'bad'],
    ]);
  });

  it('false leaves texts what they are', async () => {
    expect(await pairsOf({ chat: false }, { ...pair, system: 'S' })).toEqual([['Q', 'good', 'bad']]);
  });

  it('is not switched on by a system column that the format does not read', async () => {
    const [chosen, rejected] = ['good', 'bad'].map(text => `\n\nHuman: Q\n\nAssistant: ${text}`);
    expect(await pairsOf({}, { chosen, rejected, system: 'S' })).toEqual([
      ['\n\nHuman: Q\n\nAssistant:', ' good', ' bad'],
    ]);
    const [first] = JSON.parse(await readFile(published('qa_feedback.json'), 'utf8'));
    expect((await read({}, { ...first, system: 'S' })).reports).toMatchObject([
      { format: 'qa-feedback', kind: 'text' },
    ]);
  });

  it('is decided once for a file', async () => {
    const plain = Array.from({ length: 20 }, () => pair);
    const message = await messageOf(read({}, ...plain, { ...pair, system: 'S' }));
    expect(message).toMatch(/jsonl:21, field "system": .* Set data\.chat to true/);
    const { rows } = await read({}, { ...pair, system: 'S' }, pair);
    expect(rows.map(({ prompt }) => prompt.kind)).toEqual(['chat', 'chat']);
  });
});

describe('scores', () => {
  const answers = { prompt: 'Q', answers: ['c', 'a', 'b', 'a2'], scores: [1, 5, 4, 5] };

  it('give the best with the worst, or all pairs that differ, ties counted', async () => {
    expect(await pairsOf({}, answers)).toEqual([['Q', 'a', 'c']]);
    const { rows, reports } = await read({ pairs: 'all' }, answers);
    expect(rows.map(({ chosen, rejected }) => `${chosen}${rejected}`)).toEqual([
      'ab',
      'ac',
      'a2b',
      'a2c',
      'bc',
    ]);
    expect(reports).toMatchObject([{ rows: 1, used: 5, skipped: { tie: 1 } }]);
  });

  it('count every pair that is none, whether or not the record has others', async () => {
    const count = async (record: object, other: object, pairs: 'all' | 'best-worst' = 'all') =>
      (await read({ pairs }, record, other)).reports[0]!;
    const equal = { ...answers, scores: [2, 2, 2, 2] };
    expect(await count(answers, equal)).toMatchObject({ used: 5, skipped: { tie: 7 } });
    expect(await count(answers, equal, 'best-worst')).toMatchObject({ used: 1, skipped: { tie: 1 } });
    const same = { ...answers, answers: ['a', 'a', 'a', 'a'] };
    expect(await count(answers, same)).toMatchObject({
      used: 5,
      skipped: { tie: 2, 'chosen equals rejected': 5 },
    });

    const asked = (...ranks: number[]) => ({
      role: 'prompter',
      text: 'Q',
      replies: ranks.map((rank, index) => ({ role: 'assistant', text: `A${index}`, rank, replies: [] })),
    });
    const tree = (...ranks: number[]) => {
      const reply = { role: 'assistant', text: 'A', rank: 0, replies: [asked(...ranks)] };
      return { prompt: { ...asked(0, 0), replies: [reply, { ...reply, replies: [] }] } };
    };
    for (const pairs of ['all', 'best-worst'] as const) {
      expect(await count(tree(0, 1), tree(3, 3), pairs)).toMatchObject({ used: 1, skipped: { tie: 3 } });
    }

    const [first] = JSON.parse(await readFile(published('qa_feedback.json'), 'utf8'));
    const judged = { ...first, preference: [1, 0, 0, 0, 0, 0] };
    const undecided = { ...first, preference: [0, 0, 0, 0, 0, 0] };
    expect(await count(judged, undecided)).toMatchObject({ used: 1, skipped: { tie: 11 } });
    expect(await count(judged, undecided, 'best-worst')).toMatchObject({ used: 1, skipped: { tie: 1 } });
  });

  it('that are equal everywhere are ties', async () => {
    const equal = { ...answers, scores: [2, 2, 2, 2] };
    const shp = { prompt: 'Q', answer_1: 'a', answer_2: 'b', score_1: 1, score_2: 1 };
    expect((await read({}, answers, equal)).reports).toMatchObject([{ used: 1, skipped: { tie: 1 } }]);
    expect((await read({}, { ...shp, score_1: 2 }, shp)).reports).toMatchObject([
      { used: 1, skipped: { tie: 1 } },
    ]);
  });

  it('that differ by less than minScoreGap are left out and counted', async () => {
    const reason = 'the scores differ by less than data.minScoreGap';
    const { rows, reports } = await read({ pairs: 'all', minScoreGap: 3 }, answers);
    expect(rows.map(({ chosen, rejected }) => `${chosen}${rejected}`)).toEqual(['ac', 'a2c', 'bc']);
    expect(reports[0]!.skipped).toEqual({ tie: 1, [reason]: 2 });
    const scored = (chosen: number, rejected: number) => ({
      ...pair,
      score_chosen: chosen,
      score_rejected: rejected,
    });
    const binarized = await read({ minScoreGap: 1 }, scored(8, 7), scored(8, 7.5), scored(5, 9));
    expect(binarized.reports).toMatchObject([{ used: 1, skipped: { [reason]: 2 } }]);
  });

  it.each([
    ['pairs', pair],
    ['labels', { prompt: 'Q', answer_1: 'a', answer_2: 'b', label: 1 }],
  ])('are needed for minScoreGap: %s', async (_, record) => {
    expect(await messageOf(read({ minScoreGap: 1 }, record))).toContain(
      'data.minScoreGap is set, and the record has no scores.',
    );
  });

  it.each([
    [{ ...answers, scores: [1, 2] }, 'field "scores": Expected 4 numbers'],
    [{ ...answers, scores: [1, 2, 'x', 4] }, 'field "scores[2]": Expected a number, found "x"'],
    [{ ...answers, answers: ['a', 'b', 3, 'd'] }, 'field "answers[2]": Expected a text, found 3'],
    [{ prompt: 'Q', answer_1: 'a', answer_2: 'b', label: 3 }, 'field "label": Expected 1 (the first'],
  ])('are checked: %j', async (record, message) => {
    const good = 'answers' in record ? answers : { ...record, label: 1 };
    expect(await messageOf(read({}, good, record))).toContain(message);
  });
});

describe('published data', () => {
  const readPublished = (name: string, options: Options = {}) =>
    readPreferenceRows([published(name)], 'auto', options);

  it('dpo_en_demo of LLaMA-Factory', async () => {
    const { rows, reports } = await readPublished('dpo_en_demo.json');
    expect(reports).toMatchObject([{ format: 'sharegpt', kind: 'chat', rows: 6, used: 6, skipped: {} }]);
    expect(
      rows.map(({ prompt }) => (prompt.kind === 'chat' ? prompt.messages.map(({ role }) => role) : [])),
    ).toContainEqual(['system', 'user']);
  });

  it('LLMBar', async () => {
    const { rows, reports } = await readPublished('llmbar.json');
    expect(reports).toMatchObject([
      { format: 'compared', by: ['input', 'output_1', 'output_2', 'label'], kind: 'text', rows: 6, used: 6 },
    ]);
    const [record] = JSON.parse(await readFile(published('llmbar.json'), 'utf8')).slice(-1);
    expect(record.label).toBe(2);
    expect(rows.at(-1)).toMatchObject({
      prompt: { text: record.input },
      chosen: record.output_2,
      rejected: record.output_1,
    });
  });

  it('PandaLM: the judgement of most annotators, ties counted', async () => {
    // A few answers were written as true, which is no text.
    expect(await messageOf(readPublished('pandalm.json'))).toMatch(
      /pandalm\.json:7, field "response2": Expected a text, found true\./,
    );
    const { rows, reports } = await readPublished('pandalm.json', { onBadRow: 'skip' });
    // The votes: 222, 111, 000, 212, 100, 202.
    expect(rows.map(({ row }) => row)).toEqual([1, 2, 4, 6]);
    expect(reports).toMatchObject([
      { format: 'compared', rows: 7, used: 4, skipped: { tie: 2, 'bad row, field "response2"': 1 } },
    ]);
    const records = JSON.parse(await readFile(published('pandalm.json'), 'utf8'));
    expect(rows.map(({ chosen }) => chosen)).toEqual([
      records[0].response2,
      records[1].response1,
      records[3].response2,
      records[5].response2,
    ]);
    expect(rows.map(({ prompt }) => prompt)).toEqual(
      [0, 1, 3, 5].map(index => {
        const { instruction, input } = records[index];
        return {
          kind: 'text',
          text:
            input === ''
              ? instruction
              : `${instruction}

${input}`,
        };
      }),
    );
  });

  it('QA-Feedback: the pair that people found furthest apart, or all that they judged', async () => {
    const { rows, reports } = await readPublished('qa_feedback.json');
    expect(reports).toMatchObject([{ format: 'qa-feedback', rows: 4, used: 2, skipped: { tie: 2 } }]);
    const records = JSON.parse(await readFile(published('qa_feedback.json'), 'utf8'));
    // 0 1 1 1 1 0: 1 and 2 are better than 3 and 4, and as good as each other.
    expect(rows[0]).toMatchObject({
      row: 1,
      chosen: records[0]['prediction 1'],
      rejected: records[0]['prediction 3'],
    });
    // 1 1 1 1 2 2: 1 won all, 3 lost all.
    expect(rows[1]).toMatchObject({
      row: 3,
      chosen: records[2]['prediction 1'],
      rejected: records[2]['prediction 3'],
    });
    expect(rows[1]!.prompt).toMatchObject({
      text: expect.stringMatching(/^question: .* context: wikipage: .* text: /),
    });
    const all = await readPublished('qa_feedback.json', { pairs: 'all' });
    expect(all.reports).toMatchObject([{ used: 10, skipped: { tie: 14 } }]);
  });

  it('the trees of OpenAssistant: after every message with ranked replies', async () => {
    const { rows, reports } = await readPublished('oasst_en_trees.jsonl');
    expect(reports).toMatchObject([{ format: 'oasst', kind: 'chat', rows: 4, used: 6 }]);
    for (const { prompt } of rows) {
      const roles = prompt.kind === 'chat' ? prompt.messages.map(({ role }) => role) : [];
      expect(roles).toEqual(roles.map((_, index) => (index % 2 === 0 ? 'user' : 'assistant')));
      expect(roles.at(-1)).toBe('user');
    }
    const [first] = (await readFile(published('oasst_en_trees.jsonl'), 'utf8')).split('\n');
    const { prompt } = JSON.parse(first!);
    const reply = (rank: number) => prompt.replies.find((node: { rank: number }) => node.rank === rank).text;
    expect(rows[0]).toMatchObject({ chosen: reply(0), rejected: reply(prompt.replies.length - 1) });
    const all = await readPublished('oasst_en_trees.jsonl', { pairs: 'all' });
    expect(all.rows.length).toBeGreaterThan(6);
  });
});

describe('data.onBadRow', () => {
  const bad = (index: number) => ({ ...pair, [index % 3 === 0 ? 'prompt' : 'rejected']: index });

  it('error: one pass names all bad rows of all files', async () => {
    const one = await save(pair, bad(1), pair, bad(3), pair);
    await writeFile(one, `${(await readFile(one, 'utf8')).trimEnd()}\n{"prompt": \n`);
    const two = await save({ ...pair, chosen: null }, pair);
    const message = await messageOf(readPreferenceRows([one, two]));
    expect(message.split('\n')).toEqual([
      '4 rows cannot be used.',
      expect.stringContaining(`  ${one}:2, field "rejected": Expected a text, found 1.`),
      expect.stringContaining(`  ${one}:4, field "prompt": Expected a text, found 3.`),
      expect.stringContaining(`  ${one}:6: This is not valid JSON`),
      expect.stringContaining(`  ${two}:1, field "chosen": Missing; expected a text.`),
      ' See data.format for the fields of each format, and data.columns for other names. ' +
        'Repair them, or set data.onBadRow to skip: they are then left out and counted.',
    ]);
  });

  it('error: the first 20 in full, then counts', async () => {
    const rows = Array.from({ length: 26 }, (_, index) => bad(index));
    const message = await messageOf(read({}, pair, pair, ...Array.from({ length: 20 }, () => pair), ...rows));
    expect(message).toContain('26 rows cannot be used.');
    expect(message.split('\n').filter(line => line.includes('Expected a text, found'))).toHaveLength(20);
    expect(message).toContain('and 6 more: 4 field "rejected", 2 field "prompt"');
  });

  it('error: a single bad row is the error', async () => {
    expect(await messageOf(read({}, pair, bad(1)))).toMatch(
      /jsonl:2, field "rejected": Expected a text, found 1\./,
    );
  });

  it('skip: they are left out, counted and named', async () => {
    const file = await save(pair, bad(1), bad(3), bad(2), pair);
    await writeFile(file, `${(await readFile(file, 'utf8')).trimEnd()}\nno JSON\n`);
    const { rows, reports } = await readPreferenceRows([file], 'auto', { onBadRow: 'skip' });
    expect(rows.map(({ row }) => row)).toEqual([1, 5]);
    expect(reports).toMatchObject([
      {
        rows: 6,
        used: 2,
        skipped: {
          'bad row, field "rejected"': 2,
          'bad row, field "prompt"': 1,
          'bad row, This is not valid JSON': 1,
        },
      },
    ]);
    expect(reports[0]!.badRows).toHaveLength(4);
    expect(reports[0]!.badRows[0]).toContain(`${file}:2, field "rejected": Expected a text, found 1.`);
  });

  it('skip: a damaged file is an error all the same', async () => {
    const file = join(folder, 'cut.json');
    await writeFile(file, JSON.stringify([pair, pair]).slice(0, -1));
    expect(await messageOf(readPreferenceRows([file], 'auto', { onBadRow: 'skip' }))).toContain('cut.json');
  });
});
