import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { messageOf, pair, pairsOf, published, read } from './rows-of.js';

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
