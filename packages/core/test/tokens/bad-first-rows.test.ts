/** A stream whose first rows are all bad: they do not tell how the augmented views begin, those behind them do. */
import { expect, it } from 'vitest';
import type { RowStream } from '../../src/data/read.js';
import type { PreferenceRow } from '../../src/data/rows.js';
import { encodePairs } from '../../src/tokens/encode.js';
import { encodeStream } from '../../src/tokens/encode-stream.js';
import { exampleDigest } from '../../src/tokens/example-store.js';
import type { EncodeTask } from '../../src/tokens/row-encoder.js';
import { loadTokenizer } from '../../src/tokens/tokenizer.js';
import { CHAT_TEMPLATE, storiesWith } from './fixtures.js';

const policy = { maxTokens: 40, maxPromptTokens: 20, longPrompt: 'keep-end' } as const;
const task: EncodeTask = {
  ...{ kind: 'pairs', turns: 'all', policy, augmentation: null, onBadRow: 'error' },
  limits: { vocabularySize: 512, maxPositions: 128, modelFolder: 'M' },
};
const p = { prompt: 'Be good.', placement: null, maxTokens: 30 };

const chatRow = (row: number, question: string): PreferenceRow => ({
  ...{ kind: 'pair', file: 'a.jsonl', row, chosen: `Yes, ${row}`, rejected: 'No' },
  prompt: { kind: 'chat', messages: [{ role: 'user', content: question }] },
});
const streamOf = (rows: readonly PreferenceRow[]) => (): RowStream => ({
  reports: [],
  async *[Symbol.asyncIterator]() {
    yield* rows;
  },
});

it.each([
  ['the first batch, p in chats', 300, null],
  ['the first batch, p in front', 300, 'prompt'],
  ['what one thread encodes alone', 1100, null],
] as const)('where they do not end in %s', async (_, count, placement) => {
  const template = `{% if 'No' in messages[0].content %}{{ raise_exception('no') }}{% endif %}${CHAT_TEMPLATE}`;
  const tokenizer = await loadTokenizer(await storiesWith({ chat_template: template }));
  const rows = Array.from({ length: count + 300 }, (_, index) =>
    chatRow(index + 1, index < count ? 'No' : `Say ${index}`),
  );
  const augmentation = { ...p, placement };
  const skip = { ...task, augmentation, onBadRow: 'skip' as const };
  const expected = encodePairs(rows.slice(count), tokenizer, { policy, augmentation });
  const digests = Buffer.concat(expected.pairs.map(exampleDigest)).toString('hex');
  for (const threads of [1, 2]) {
    const made = await encodeStream(streamOf(rows), skip, tokenizer, { threads });
    expect(Buffer.concat(made.chunks.map(chunk => chunk.digests)).toString('hex')).toBe(digests);
    expect(made.sharedAugmentation).toEqual(expected.sharedAugmentation);
    expect(made.augmented).toBe(true);
  }
  const bad = streamOf(rows.slice(0, count));
  await expect(encodeStream(bad, { ...task, augmentation }, tokenizer, { threads: 2 })).rejects.toThrow(
    `${count} rows cannot be used.`,
  );
  await expect(encodeStream(bad, skip, tokenizer, { threads: 2 })).rejects.toThrow(
    'Nothing is left: none of the rows can be used.',
  );
});
