import { appendFile, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DataError, RunError } from '../../src/errors.js';
import { MetricsJsonl, readMetrics } from '../../src/metrics/jsonl.js';
import { temporaryFolder } from '../support.js';

const steps = async (file: string): Promise<number[]> => (await readMetrics(file)).map(({ step }) => step);

describe('metrics.jsonl', () => {
  it('gives back every number, NaN and infinities too, with the time', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'metrics.jsonl');
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ loss: fc.double(), 'eval_rewards/margins': fc.double() }), { maxLength: 5 }),
        async records => {
          const before = Date.now() / 1000;
          const log = await MetricsJsonl.open(file, null);
          for (const [i, record] of records.entries()) log.write({ step: i, ...record });
          const read = await readMetrics(file);
          expect(read).toHaveLength(records.length);
          for (const [i, record] of records.entries()) {
            const { time, ...rest } = read[i]!;
            expect(time).toBeGreaterThanOrEqual(before);
            // JSON has no negative zero.
            const positive = Object.entries(record).map(([name, value]) => [name, value === 0 ? 0 : value]);
            expect(rest).toEqual({ step: i, ...Object.fromEntries(positive) });
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  it('writes numbers that are not finite as text, never as null', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'metrics.jsonl');
    const log = await MetricsJsonl.open(file, null);
    log.write({ step: 1, a: Number.NaN, b: Number.POSITIVE_INFINITY, c: Number.NEGATIVE_INFINITY });
    expect(await readFile(file, 'utf8')).toMatch(
      /^\{"step":1,"a":"NaN","b":"Infinity","c":"-Infinity","time":[\d.]+\}\n$/,
    );
  });

  it('drops what a resumed run will write again, and a torn last line', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'metrics.jsonl');
    const first = await MetricsJsonl.open(file, null);
    for (const step of [0, 1, 2, 2, 3, 4]) first.write({ step, loss: step });
    await appendFile(file, '{"step":5,"lo');
    expect(await steps(file)).toEqual([0, 1, 2, 2, 3, 4]);
    const second = await MetricsJsonl.open(file, 2);
    second.write({ step: 3, loss: 30 });
    expect(await steps(file)).toEqual([0, 1, 2, 2, 3]);
    expect((await readMetrics(file)).at(-1)!.loss).toBe(30);
    expect(await readdir(folder.path)).toEqual(['metrics.jsonl']);
    await MetricsJsonl.open(file, null);
    expect(await steps(file)).toEqual([]);
  });

  it('starts anew when the file of a resumed run is not there', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'metrics.jsonl');
    (await MetricsJsonl.open(file, 7)).write({ step: 8 });
    expect(await steps(file)).toEqual([8]);
  });

  it.each([
    ['{"step":1}\nnot JSON\n{"step":2}\n', /metrics\.jsonl:2: The line is not a JSON object/],
    ['{"step":1}\n\n', /metrics\.jsonl:2/],
    ['{"loss":1}\n', /metrics\.jsonl:1: .* with a step/],
    ['null\n', /metrics\.jsonl:1/],
  ])('names the damaged line of %j', async (text, says) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'metrics.jsonl');
    await writeFile(file, text);
    await expect(readMetrics(file)).rejects.toThrow(DataError);
    await expect(readMetrics(file)).rejects.toThrow(says);
    await expect(MetricsJsonl.open(file, 1)).rejects.toThrow(says);
    expect(await readFile(file, 'utf8')).toBe(text);
  });

  it('says which file cannot be read or written', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'none', 'metrics.jsonl');
    await expect(readMetrics(file)).rejects.toThrow(/metrics\.jsonl: The metrics cannot be read \(ENOENT/);
    await expect(MetricsJsonl.open(file, null)).rejects.toThrow(RunError);
  });
});
