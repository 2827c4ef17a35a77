import { parquetWriteFile } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import { FORMAT_NAMES, FORMATS } from '../../src/data/formats/index.js';
import { readPreferenceRows } from '../../src/data/read.js';
import { assistant, fileNamed, messageOf, pair, pairsOf, read, save, user } from './rows-of.js';

type Named = Parameters<typeof readPreferenceRows>[1];

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
    const file = fileNamed('other.parquet');
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
