import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { readPreferenceRows } from '../../src/data/read.js';
import { assistant, messageOf, pair, pairsOf, published, read, save, user } from './rows-of.js';

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
