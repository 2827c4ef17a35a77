/** Files of encoded examples: larger than what a checksum takes at once, and of another version. */
import { type Hash, hash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import type { EncodedExample } from '../../src/tokens/encode.js';
import { chunkOf, examplesOf } from '../../src/tokens/example-store.js';
import { readSet, type StoredSet, writeSet } from '../../src/tokens/set-file.js';
import { temporaryFolder } from '../support.js';

/** In the place of 2 GiB, where `update` throws a RangeError. */
const MOST_BYTES = 2 ** 24;

vi.mock('node:crypto', async original => {
  const crypto = await original<typeof import('node:crypto')>();
  return {
    ...crypto,
    createHash(name: string): Hash {
      const hash = crypto.createHash(name);
      const update = hash.update.bind(hash) as (data: Buffer) => Hash;
      hash.update = ((data: Buffer) => {
        if (data.length >= MOST_BYTES) throw new RangeError('data is too long');
        return update(data);
      }) as Hash['update'];
      return hash;
    },
  };
});

it.each([
  ['many examples', 9, 2 ** 19],
  ['one', 1, 5 * 2 ** 20],
])('a large set comes back as it was: %s', async (_, count, tokens) => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'a.set');
  const examples: EncodedExample[] = Array.from({ length: count }, (_, row) => ({
    ...{ file: 'a.jsonl', row, tokens: new Int32Array(tokens).fill(row + 1) },
    ...{ trained: new Uint8Array(tokens).fill(1), cut: { promptTokens: 0, endTokens: row } },
  }));
  const chunks = examples.map(example => chunkOf([example]));
  const of = { augmented: false, tokenizerHash: 'h', reports: [], readReports: [], rowCounts: [] };
  const encoded = { pairs: chunks.flatMap(examplesOf), chunks, sharedAugmentation: Int32Array.of(), ...of };
  await writeSet(file, 'key', { encoded, notice: null });
  const found = await readSet(file, 'key');
  if (found === null || 'damage' in found) throw new Error(found?.damage);
  // Compared one by one, as bytes: a difference would be printed.
  const bytes = (one: Int32Array | Uint8Array): Buffer =>
    Buffer.from(one.buffer, one.byteOffset, one.byteLength);
  expect(found.encoded.chunks).toHaveLength(count);
  for (const [index, chunk] of found.encoded.chunks.entries()) {
    for (const key of ['facts', 'tokens', 'trained', 'digests'] as const)
      expect(bytes(chunk[key]).equals(bytes(chunks[index]![key]))).toBe(true);
  }
});

it('the header of another version is no header, whatever it lacks', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'a.set');
  const example = {
    ...{ file: 'a.jsonl', row: 1, tokens: Int32Array.of(1, 2), trained: Uint8Array.of(0, 1) },
    cut: { promptTokens: 0, endTokens: 0 },
  };
  const chunk = chunkOf([example]);
  const none = { pairs: 1, dropped: 0, equalAfterCut: 0, pairsCut: 0, promptsCut: 0 };
  const details = { file: 'a.jsonl', row: 2, field: 'text' };
  const encoded: StoredSet['encoded'] = {
    ...{ pairs: examplesOf(chunk), chunks: [chunk], sharedAugmentation: Int32Array.of(7) },
    ...{ augmented: true, tokenizerHash: 'h' },
    reports: [
      {
        ...{ file: 'a.jsonl', ...none, chosenCut: 0, rejectedCut: 0, endsCut: 0 },
        bad: { first: [{ problem: 'The text has no tokens.', details }], more: [['The same.', 3]] },
      },
    ],
    readReports: [
      {
        ...{ file: 'a.jsonl', source: null, format: 'text', by: ['text'], kind: 'text' },
        ...{ rows: 5, used: 5, notDrawn: 0, stoppedEarly: false, skipped: { empty: 1 } },
        ...{ badRows: ['a'], examples: [{ row: 1, reason: 'empty' }] },
      },
    ],
    rowCounts: [
      {
        ...{ file: 'a.jsonl', rows: 5, chats: 0, emptyChosen: 0, emptyRejected: 0 },
        ...{ repeatedChosen: 0, repeatedRejected: 0 },
      },
    ],
  };
  await writeSet(file, 'key', { encoded, notice: null });
  expect(await readSet(file, 'key')).toEqual({ encoded, notice: null });

  const bytes = await readFile(file);
  const end = 16 + Number(bytes.readBigUInt64LE(8));
  const header = JSON.parse(bytes.toString('utf8', 16, end)) as Record<string, object[]>;
  const changes: [string, object | undefined][] = Object.keys(header).map(key => [key, undefined]);
  for (const list of ['reports', 'readReports', 'rowCounts', 'chunks']) {
    for (const key of Object.keys(header[list]![0]!))
      changes.push([list, [{ ...header[list]![0], [key]: undefined }]]);
  }
  expect(changes.length).toBeGreaterThan(35);
  for (const [key, value] of changes) {
    // Of the same length, and with its own checksum, so that nothing else is wrong.
    const text = JSON.stringify({ ...header, [key]: value }).padEnd(end - 16);
    const body = Buffer.concat([bytes.subarray(0, 16), Buffer.from(text), bytes.subarray(end, -32)]);
    await writeFile(file, Buffer.concat([body, hash('sha256', body, 'buffer')]));
    expect(await readSet(file, 'key')).toEqual({
      damage: expect.stringContaining(`its header is of another version: ${key}`),
    });
  }
});
