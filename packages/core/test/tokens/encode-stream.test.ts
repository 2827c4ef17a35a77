/** Rows encoded by any number of threads, against the rows encoded one after another. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { RowStream } from '../../src/data/read.js';
import { streamRows } from '../../src/data/read.js';
import { DEFAULT_READING } from '../../src/data/reading.js';
import { dataReports } from '../../src/data/report.js';
import type { PreferenceRow } from '../../src/data/rows.js';
import { plainSource } from '../../src/data/source.js';
import { DataError, ModelError } from '../../src/errors.js';
import { encodePairs } from '../../src/tokens/encode.js';
import { encodeSequences } from '../../src/tokens/encode-sequence.js';
import { encodeStream } from '../../src/tokens/encode-stream.js';
import { exampleDigest } from '../../src/tokens/example-store.js';
import { loadTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.js';
import { temporaryFolder } from '../support.js';
import { CHAT_TEMPLATE, policy, STORIES, storiesWith, task } from './fixtures.js';

/** More than this thread encodes alone, in several batches. */
const MANY = 2500;
const limits = { vocabularySize: 512, maxPositions: 128, modelFolder: 'M' };

let stories: Tokenizer;
let chat: Tokenizer;
beforeAll(async () => {
  stories = await loadTokenizer(STORIES);
  chat = await loadTokenizer(await storiesWith({ chat_template: CHAT_TEMPLATE }));
});

const textRow = (row: number, prompt = `Say ${row}`): PreferenceRow => ({
  ...{ kind: 'pair', file: row % 3 === 0 ? 'a.jsonl' : 'b.jsonl', row },
  prompt: { kind: 'text', text: prompt },
  chosen: ` ${row} ${'word '.repeat(row % 40)}`,
  rejected: row % 100 === 0 ? ` ${row} ${'word '.repeat(row % 40)}` : ` no, ${row * 7}`,
});
const chatRow = (row: number): PreferenceRow => ({
  ...textRow(row),
  prompt: { kind: 'chat', messages: [{ role: 'user', content: `Say ${row}` }] },
});
const manyRows = (make: (row: number) => PreferenceRow): PreferenceRow[] =>
  Array.from({ length: MANY }, (_, index) => make(index + 1));

const read = {
  ...{ source: null, format: null, by: [], kind: null, rows: MANY, used: MANY, notDrawn: 0 },
  ...{ stoppedEarly: false, skipped: {}, badRows: [], examples: [] },
};

/** A stream of rows, which ends in `failure` where there is one. */
const streamOf = (rows: readonly PreferenceRow[], failure?: Error) => (): RowStream => ({
  reports: [],
  async *[Symbol.asyncIterator]() {
    yield* rows;
    if (failure !== undefined) throw failure;
  },
});

/** As plain objects, whatever holds the tokens. */
const plain = (examples: readonly object[]): unknown =>
  examples.map(one => {
    const { file, row, prompt, chosen, rejected, augmentedPrompt, tokens, trained, cut } = one as Record<
      string,
      unknown
    >;
    return { file, row, prompt, chosen, rejected, augmentedPrompt, tokens, trained, cut };
  });

describe('encodeStream', () => {
  const p = { prompt: 'Be good.', placement: null, maxTokens: 30 };

  it.each([
    ['texts', textRow, null],
    ['texts behind p', textRow, p],
    ['chats', chatRow, null],
    ['chats with p inside', chatRow, p],
  ] as const)(
    'gives what encodePairs gives, with any number of threads: %s',
    async (_, make, augmentation) => {
      const rows = manyRows(make);
      const expected = encodePairs(rows, chat, { policy, augmentation });
      for (const threads of [1, 2]) {
        const made = await encodeStream(streamOf(rows), { ...task, augmentation, limits }, chat, { threads });
        expect(plain(made.pairs)).toEqual(plain(expected.pairs));
        expect(made.sharedAugmentation).toEqual(expected.sharedAugmentation);
        expect(made.augmented).toBe(expected.augmented);
        expect(made.reports).toEqual(expected.reports);
        expect(made.rowCounts.map(({ file, rows }) => [file, rows])).toEqual([
          ['b.jsonl', MANY - Math.floor(MANY / 3)],
          ['a.jsonl', Math.floor(MANY / 3)],
        ]);
        const digests = Buffer.concat(made.chunks.map(chunk => chunk.digests));
        expect(digests).toEqual(Buffer.concat(expected.pairs.map(exampleDigest)));
      }
    },
  );

  it('gives what encodeSequences gives', async () => {
    const rows = manyRows(textRow);
    const expected = encodeSequences(rows, stories, { policy, turns: 'all' });
    for (const threads of [1, 2]) {
      const made = await encodeStream(streamOf(rows), { ...task, kind: 'sequences' }, stories, { threads });
      expect(plain(made.pairs)).toEqual(plain(expected.pairs));
      expect(made.reports).toEqual(expected.reports);
    }
  });

  it('puts p in front of all prompts where a text comes late', async () => {
    const rows = [...manyRows(chatRow), textRow(MANY + 1)];
    const chat = await loadTokenizer(
      await storiesWith({ chat_template: CHAT_TEMPLATE, add_bos_token: false }),
    );
    const expected = encodePairs(rows, chat, { policy, augmentation: p });
    expect(expected.sharedAugmentation.length).toBeGreaterThan(0);
    const made = await encodeStream(streamOf(rows), { ...task, augmentation: p }, chat, { threads: 2 });
    expect(plain(made.pairs)).toEqual(plain(expected.pairs));
    expect(made.sharedAugmentation).toEqual(expected.sharedAugmentation);
    const explicit = { ...task, augmentation: { ...p, placement: 'last-user-turn' as const } };
    await expect(encodeStream(streamOf(rows), explicit, chat, { threads: 2 })).rejects.toThrow(
      'field "augmentation.placement": The placement last-user-turn needs chat data',
    );
  });

  describe('says what is wrong with rows', () => {
    const refusing = { ...task, policy: { ...policy, longPrompt: 'error' as const } };
    const long = 'far too long a prompt '.repeat(5);
    const rows = manyRows(row => textRow(row, row === 2000 || row === 2400 ? long : undefined));
    const unread = new DataError('cannot be read', { file: 'b.jsonl', row: MANY + 1 });

    it.each([1, 2, 3])('with %i threads', async threads => {
      const error = await encodeStream(streamOf(rows, unread), refusing, stories, { threads }).catch(
        (caught: unknown) => caught as DataError,
      );
      expect(error).toBeInstanceOf(DataError);
      const { code, exitCode, details, message } = error as DataError;
      expect([code, exitCode]).toEqual(['ERR_DATA', 2]);
      expect(details.mistakes).toHaveLength(3);
      expect(message.replaceAll(/has \d+ tokens/g, 'has N tokens').split('\n')).toEqual([
        '3 rows cannot be used.',
        '  b.jsonl:2000, field "prompt": The prompt has N tokens; the limit is 20.',
        '  a.jsonl:2400, field "prompt": The prompt has N tokens; the limit is 20.',
        `  b.jsonl:${MANY + 1}: cannot be read`,
        expect.stringMatching(/^ Set tokens\.longPrompt .* Repair them, or set data\.onBadRow to skip/),
      ]);
      const later = encodeStream(streamOf(rows.slice(0, 1990), unread), refusing, stories, { threads });
      await expect(later).rejects.toBe(unread);
      const left = await encodeStream(streamOf(rows), { ...refusing, onBadRow: 'skip' }, stories, {
        threads,
      });
      const kept = rows.filter(({ row }) => row !== 2000 && row !== 2400);
      expect(plain(left.pairs)).toEqual(
        plain(encodePairs(kept, stories, { policy: refusing.policy, augmentation: null }).pairs),
      );
      const [report] = dataReports('training', [{ ...read, file: 'b.jsonl' }], left.reports, 'dpo');
      expect(report!.leftOut).toMatchObject({ 'bad row, field "prompt"': 1 });
      expect(report!.badRows).toEqual([
        expect.stringMatching(/^b\.jsonl:2000, field "prompt": The prompt has/),
      ]);
    });

    it('of a template, and its limits hold in every thread', async () => {
      const loop = '{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}';
      const endless = `{% if messages[0].content == 'Say 2000' %}${loop}{% endif %}${CHAT_TEMPLATE}`;
      const tokenizer = await loadTokenizer(await storiesWith({ chat_template: endless }));
      const encoding = encodeStream(streamOf(manyRows(chatRow)), task, tokenizer, { threads: 2 });
      const error = await encoding.catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(ModelError);
      expect((error as Error).message).toContain('The chat template does not come to an end');
    });

    it('of the model', async () => {
      const few = { ...task, limits: { ...limits, vocabularySize: 300 } };
      await expect(encodeStream(streamOf(manyRows(textRow)), few, stories, { threads: 1 })).rejects.toThrow(
        /^b\.jsonl:1, field "model\.tokenizer": The tokenizer gives token \d+, but the model in M has a vocabulary of 300\./,
      );
    });
  });

  it('tells a template the same time in every thread', async () => {
    const now = new Date('2001-02-03T04:05:06');
    const folder = await storiesWith({ chat_template: `{{ strftime_now('%Y') }}${CHAT_TEMPLATE}` });
    const tokenizer = await loadTokenizer(folder, { now });
    const whole = { ...task, policy: { maxTokens: 200, maxPromptTokens: 150, longPrompt: 'error' as const } };
    const { pairs } = await encodeStream(streamOf(manyRows(chatRow)), whole, tokenizer, { threads: 2 });
    const textOf = (pair: object): string => tokenizer.decode([...(pair as { prompt: Int32Array }).prompt]);
    expect(pairs.filter(pair => !textOf(pair).includes('2001'))).toEqual([]);
  });

  it('renders chats by the template that was chosen, in every thread', async () => {
    const chosen = await loadTokenizer(STORIES, { chatTemplate: 'chatml' });
    const rows = manyRows(chatRow);
    const { pairs } = await encodeStream(streamOf(rows), task, chosen, { threads: 2 });
    expect(plain(pairs)).toEqual(plain(encodePairs(rows, chosen, { policy, augmentation: null }).pairs));
  });

  it('refuses a tokenizer that has changed since', async () => {
    const tokenizer = { ...stories, hash: 'another' };
    await expect(encodeStream(streamOf(manyRows(textRow)), task, tokenizer, { threads: 2 })).rejects.toThrow(
      'The files of the tokenizer changed while they were read.',
    );
  });

  it('stops when it is aborted, and closes the file', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'pairs.jsonl');
    const lines = manyRows(textRow).map(({ chosen, rejected, row }) =>
      JSON.stringify({ prompt: `Say ${row}`, chosen, rejected: `${rejected}.` }),
    );
    await writeFile(file, lines.join('\n'));
    for (const after of [200, 2000]) {
      const controller = new AbortController();
      const stop = new Error('stopped');
      let seen = 0;
      const open = (): RowStream => {
        const stream = streamRows([plainSource([file])], DEFAULT_READING);
        return {
          reports: stream.reports,
          async *[Symbol.asyncIterator]() {
            for await (const row of stream) {
              if (++seen === after) controller.abort(stop);
              yield row;
            }
          },
        };
      };
      const options = { threads: 2, signal: controller.signal };
      await expect(encodeStream(open, task, stories, options)).rejects.toBe(stop);
      expect(seen).toBeLessThan(after + 600);
    }
  });

  it('says so where nothing is left', async () => {
    const dropping = { ...task, policy: { ...policy, maxPromptTokens: 2, longPrompt: 'drop' as const } };
    await expect(
      encodeStream(streamOf(manyRows(textRow)), dropping, stories, { threads: 2 }),
    ).rejects.toThrow('No pair is left: every prompt is too long.');
  });
});
