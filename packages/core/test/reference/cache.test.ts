import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { CheckpointError } from '../../src/errors.js';
import { scorePairs } from '../../src/loss/score.js';
import { ReferenceCache } from '../../src/reference/cache.js';
import { fixedPairs, temporaryFolder, tinyModel } from '../support.js';

const sharedAugmentation = Int32Array.of(90, 91);
const pairs = fixedPairs(7);
const request = { pairs, view: 'augmented', sharedAugmentation } as const;
const yieldNothing = async (): Promise<void> => {};

describe('ReferenceCache', () => {
  it('gives what the model gives, and survives a restart without the model', async () => {
    await using folder = await temporaryFolder();
    const model = await tinyModel('llama grouped');
    const filled = await new ReferenceCache(folder.path, 'key-a').fill(model, request, 100, yieldNothing);
    const direct = scorePairs(model, pairs, 'augmented', 'both', sharedAugmentation);
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

  it('refuses a file of another model, damage, and numbers the model does not give', async () => {
    await using folder = await temporaryFolder();
    const model = await tinyModel('llama grouped');
    const cache = new ReferenceCache(folder.path, 'key-a');
    await cache.fill(model, request, 4, yieldNothing);
    const text = await readFile(cache.file, 'utf8');

    await writeFile(cache.file, text.replace('"key-a"', '"key-b"'));
    expect(() => new ReferenceCache(folder.path, 'key-a')).toThrow(/another model/);
    await writeFile(cache.file, text.replace('"chosen":', '"chsen":'));
    expect(() => new ReferenceCache(folder.path, 'key-a')).toThrow(/damaged.*Delete/s);
    await writeFile(cache.file, text.replaceAll(/"chosen":-/g, '"chosen":-1'));
    const wrong = new ReferenceCache(folder.path, 'key-a');
    expect(() => wrong.verify(model, request, 2)).toThrow(CheckpointError);
    await writeFile(cache.file, text);
    new ReferenceCache(folder.path, 'key-a').verify(model, request, 2);
    model.dispose();
  });
});
