import { createHash } from 'node:crypto';
import { appendFile, readFile, rm, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { CheckpointError } from '../../src/errors.js';
import { scorePairs } from '../../src/loss/score.js';
import { type AnswerLogps, ReferenceCache } from '../../src/reference/cache.js';
import { RecordsFile } from '../../src/reference/records.js';
import { fixedPairs, temporaryFolder, tinyModel } from '../support.js';

const sharedAugmentation = Int32Array.of(90, 91);
const pairs = fixedPairs(7);
const request = { pairs, view: 'augmented', sharedAugmentation } as const;
/** Of the records of a file, in its order. */
const keys = (text: string): string[] => [...text.matchAll(/"pair":"([^"]+)"/g)].map(([, key]) => key!);
const yieldNothing = async (): Promise<void> => {};

describe('ReferenceCache', () => {
  it('gives what the model gives, and survives a restart without the model', async () => {
    await using folder = await temporaryFolder();
    const model = await tinyModel('llama grouped');
    const filled = await new ReferenceCache(folder.path, 'key-a').fill(model, request, 100, yieldNothing);
    const direct = scorePairs(model, pairs, 'augmented', sharedAugmentation);
    model.dispose();
    expect(filled.flatMap(entry => [entry.chosen, entry.rejected])).toEqual([...direct]);
    expect(new ReferenceCache(folder.path, 'key-a').lookup(request)).toEqual(filled);
  });

  it('keeps the views apart, shares equal pairs, and misses what it has not seen', async () => {
    await using folder = await temporaryFolder();
    const model = await tinyModel('llama grouped');
    const cache = new ReferenceCache(folder.path, 'key-a');
    await cache.fill(model, request, 3, yieldNothing);
    expect(cache.lookup({ ...request, view: 'plain' })).toEqual(pairs.map(() => undefined));
    expect(cache.lookup({ ...request, sharedAugmentation: Int32Array.of(90) })[0]).toBeUndefined();
    const more = { ...request, pairs: [pairs[3]!, ...fixedPairs(1, 101, 99)] };
    const counts: number[] = [];
    await cache.fill(model, more, 3, async done => void counts.push(done));
    expect(counts).toEqual([2]);
    model.dispose();
  });

  it('finds a pair by the tokens that its numbers depend on, as in every version before', async () => {
    await using folder = await temporaryFolder();
    const model = await tinyModel('llama grouped');
    const cache = new ReferenceCache(folder.path, 'key-a');
    const one = { ...request, pairs: pairs.slice(0, 1) };
    await cache.fill(model, one, 1, yieldNothing);
    model.dispose();
    const { augmentedPrompt, chosen, rejected } = pairs[0]!;
    const prefix = [...sharedAugmentation, ...augmentedPrompt];
    const ids = Int32Array.from([prefix.length, ...prefix, chosen.length, ...chosen, ...rejected]);
    const expected = createHash('sha256').update(ids).digest('base64url').slice(0, 24);
    expect(keys(await readFile(cache.file, 'utf8'))).toEqual([expected]);
  });

  it('continues after a kill in the middle of a line', async () => {
    await using folder = await temporaryFolder();
    const model = await tinyModel('llama grouped');
    const cache = new ReferenceCache(folder.path, 'key-a');
    const filled = await cache.fill(model, { ...request, pairs: pairs.slice(0, 4) }, 4, yieldNothing);
    await appendFile(cache.file, '{"pair":"torn');
    const again = new ReferenceCache(folder.path, 'key-a');
    expect(again.lookup(request).slice(0, 4)).toEqual(filled);
    await again.fill(model, request, 4, yieldNothing);
    expect(new ReferenceCache(folder.path, 'key-a').lookup(request)).not.toContain(undefined);
    model.dispose();
  });

  it('computes again what is damaged or of another model, and refuses numbers the model does not give', async () => {
    await using folder = await temporaryFolder();
    const model = await tinyModel('llama grouped');
    const cache = new ReferenceCache(folder.path, 'key-a');
    const filled = await cache.fill(model, request, 4, yieldNothing);
    const text = await readFile(cache.file, 'utf8');
    const reopened = () => new ReferenceCache(folder.path, 'key-a');

    await writeFile(cache.file, text.replace(/"chosen":-\d/, '"chosen":-9'));
    const changed = reopened();
    expect(changed.damagedRecords).toBe(1);
    expect(changed.lookup(request).filter(entry => entry === undefined)).toHaveLength(1);
    const again = await changed.fill(model, request, 4, yieldNothing);
    for (const [i, { chosen }] of again.entries()) expect(chosen).toBeCloseTo(filled[i]!.chosen, 3);
    expect(reopened().lookup(request)).toEqual(again);

    await rm(cache.file);
    const keyed = filled.map((entry, i) => [keys(text)[i]!, entry] as [string, AnswerLogps]);
    new RecordsFile(cache.file, 'key-b').append(keyed);
    expect(reopened().lookup(request)).toEqual(pairs.map(() => undefined));

    const wrong = keyed.map(([key, entry]) => [key, { ...entry, chosen: entry.chosen - 1 }] as const);
    new RecordsFile(cache.file, 'key-a').append(wrong);
    expect(() => reopened().verify(model, request, 2)).toThrow(CheckpointError);
    await writeFile(cache.file, text);
    reopened().verify(model, request, 2);
    model.dispose();
  });

  it('takes the numbers that stand first in a shared file, so that resuming finds the same', async () => {
    await using folder = await temporaryFolder();
    const model = await tinyModel('llama grouped');
    const [late, early] = [0, 1].map(() => new ReferenceCache(folder.path, 'key-a'));
    const filled = await early!.fill(model, { ...request, pairs: pairs.slice(2) }, 4, yieldNothing);
    // As another process might have rounded them.
    const text = await readFile(early!.file, 'utf8');
    await rm(early!.file);
    const other = filled.map(({ chosen, rejected }) => ({ chosen: chosen * (1 + 1e-6), rejected }));
    new RecordsFile(early!.file, 'key-a').append(other.map((entry, i) => [keys(text)[i]!, entry] as const));
    const used = await late!.fill(model, request, 4, yieldNothing);
    expect(used.slice(2)).toEqual(other);
    expect(new ReferenceCache(folder.path, 'key-a').lookup(request)).toEqual(used);
    model.dispose();
  });
});
