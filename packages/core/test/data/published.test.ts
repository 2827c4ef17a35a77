import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { readPreferenceRows } from '../../src/data/read.js';
import { messageOf, type Options, published } from './rows-of.js';

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
