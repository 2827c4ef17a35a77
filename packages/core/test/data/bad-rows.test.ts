import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { readPreferenceRows } from '../../src/data/read.js';
import { fileNamed, messageOf, pair, read, save } from './rows-of.js';

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
    const file = fileNamed('cut.json');
    await writeFile(file, JSON.stringify([pair, pair]).slice(0, -1));
    expect(await messageOf(readPreferenceRows([file], 'auto', { onBadRow: 'skip' }))).toContain('cut.json');
  });
});
