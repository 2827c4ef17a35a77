/** Encoded data on disk: found again, never believed when damaged, and made anew when anything that decides it changes. */
import { mkdir, readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { streamRows } from '../../src/data/read.js';
import { DEFAULT_READING } from '../../src/data/reading.js';
import { plainSource } from '../../src/data/source.js';
import { encodeStream } from '../../src/tokens/encode-stream.js';
import type { EncodeTask } from '../../src/tokens/row-encoder.js';
import { SetCache, type SetIdentity } from '../../src/tokens/set-cache.js';
import type { StoredSet } from '../../src/tokens/set-file.js';
import { loadTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.js';
import { temporaryFolder } from '../support.js';
import { STORIES, storiesWith, task } from './fixtures.js';

let stories: Tokenizer;
beforeAll(async () => {
  stories = await loadTokenizer(STORIES);
});

const lines = (from: number, count: number): string =>
  Array.from({ length: count }, (_, i) =>
    JSON.stringify({ prompt: `Say ${from + i}`, chosen: `Yes, ${from + i}`, rejected: 'No' }),
  ).join('\n');

describe('SetCache', () => {
  let folder: string;
  let data: string;
  let encoded: number;
  beforeEach(async () => {
    folder = (await temporaryFolder()).path;
    data = join(folder, 'pairs.jsonl');
    await writeFile(data, lines(0, 2000));
    encoded = 0;
    return () => rm(folder, { recursive: true, force: true });
  });

  const identity = (change: Partial<SetIdentity> = {}): SetIdentity => ({
    ...{ files: [data], tokenizer: stories, settings: { task } },
    ...change,
  });
  const make =
    (kind: EncodeTask['kind'] = 'pairs', tokenizer = stories) =>
    async (): Promise<StoredSet> => {
      encoded++;
      const open = () => streamRows([plainSource([data])], DEFAULT_READING);
      return {
        encoded: await encodeStream(open, { ...task, kind }, tokenizer, { threads: 1 }),
        notice: 'left out',
      };
    };
  const cacheFolder = () => join(folder, 'cache');
  const setFile = async (): Promise<string> => join(cacheFolder(), (await readdir(cacheFolder()))[0]!);
  const facts = ({ encoded: { pairs, chunks, ...rest }, notice }: StoredSet) => ({
    ...{ rest, notice },
    digests: Buffer.concat(chunks.map(chunk => chunk.digests)).toString('hex'),
    examples: pairs.map(pair => {
      const { file, row, prompt, chosen, rejected, augmentedPrompt, tokens, trained, cut } =
        pair as unknown as Record<string, unknown>;
      return { file, row, prompt, chosen, rejected, augmentedPrompt, tokens, trained, cut };
    }),
  });

  it.each(['pairs', 'sequences'] as const)('finds what it has seen: %s', async kind => {
    const first = await new SetCache(cacheFolder()).get(identity(), make(kind));
    const cache = new SetCache(cacheFolder());
    const again = await cache.get(identity(), make(kind));
    expect(encoded).toBe(1);
    expect(facts(again)).toEqual(facts(first));
    expect(cache.notices).toEqual([]);
    expect((await readdir(cacheFolder())).filter(name => !name.endsWith('.set'))).toEqual([]);
  });

  it('makes a set anew when anything changes that decides it', async () => {
    const get = (change?: Partial<SetIdentity>) => new SetCache(cacheFolder()).get(identity(change), make());
    await get();
    await get({ settings: { task, more: 1 } });
    const bare = await loadTokenizer(await storiesWith({ add_bos_token: false }));
    await get({ tokenizer: bare });
    await get({ tokenizer: { ...stories, stopTokenIds: [2, 7] } });
    expect(encoded).toBe(4);
    // The clock only where a template asks for it.
    await get({ tokenizer: { ...stories, now: new Date(0) } });
    expect(encoded).toBe(4);
    const clock = { ...stories, chatTemplate: "{{ strftime_now('%d') }}" };
    await get({ tokenizer: { ...clock, now: new Date(0) } });
    await get({ tokenizer: { ...clock, now: new Date(1) } });
    expect(encoded).toBe(6);
    vi.stubEnv('TZ', 'Asia/Tokyo');
    await get({ tokenizer: { ...clock, now: new Date(1) } });
    vi.unstubAllEnvs();
    expect(encoded).toBe(7);
    await writeFile(data, lines(1, 2000));
    const { encoded: other } = await get();
    expect(encoded).toBe(8);
    expect(other.pairs[0]).toMatchObject({ row: 1 });
    await writeFile(data, lines(0, 2000));
    await get();
    expect(encoded).toBe(8);
  });

  it('does not look for what other code has encoded', async () => {
    await new SetCache(cacheFolder(), 'a').get(identity(), make());
    await new SetCache(cacheFolder(), 'b').get(identity(), make());
    await new SetCache(cacheFolder(), 'a').get(identity(), make());
    expect(encoded).toBe(2);
  });

  it('makes again what is damaged in any place, and says so', async () => {
    const first = facts(await new SetCache(cacheFolder()).get(identity(), make()));
    const file = await setFile();
    const bytes = await readFile(file);
    const places = [0, 9, 20, 500, Math.floor(bytes.length / 2), bytes.length - 40, bytes.length - 1];
    const damaged = places.map(place => {
      const copy = Buffer.from(bytes);
      copy[place] = copy[place]! ^ 0x41;
      return copy;
    });
    const cut = [0, 10, 300, bytes.length - 1].map(length => bytes.subarray(0, length));
    for (const content of [...damaged, ...cut, Buffer.concat([bytes, bytes])]) {
      await writeFile(file, content);
      const before = encoded;
      const cache = new SetCache(cacheFolder());
      expect(facts(await cache.get(identity(), make()))).toEqual(first);
      expect(encoded).toBe(before + 1);
      expect(cache.notices).toEqual([expect.stringContaining(`${file}: the encoded data cannot be used (`)]);
      expect((await readFile(file)).equals(bytes)).toBe(true);
    }
  });

  it('does not take the set of other inputs that lies under its name', async () => {
    await new SetCache(cacheFolder()).get(identity(), make());
    const bytes = await readFile(await setFile());
    await rm(await setFile());
    await new SetCache(cacheFolder()).get(identity({ settings: 'other' }), make());
    await writeFile(await setFile(), bytes);
    await new SetCache(cacheFolder()).get(identity({ settings: 'other' }), make());
    expect(encoded).toBe(3);
  });

  it('keeps no small set, and none of files that changed while they were read', async () => {
    await writeFile(data, lines(0, 1999));
    await new SetCache(cacheFolder()).get(identity(), make());
    await writeFile(data, lines(0, 2000));
    await new SetCache(cacheFolder()).get(identity(), async () => {
      const made = await make()();
      await writeFile(data, lines(0, 2001));
      return made;
    });
    expect(await readdir(cacheFolder()).catch(() => [])).toEqual([]);
  });

  it('goes on without a folder that cannot be written, and says so', async () => {
    await writeFile(join(folder, 'occupied'), '');
    const cache = new SetCache(join(folder, 'occupied', 'cache'));
    const made = await cache.get(identity(), make());
    expect(made.encoded.pairs).toHaveLength(2000);
    expect(cache.notices).toEqual([
      expect.stringMatching(
        /^The encoded data are not kept .*occupied\/cache: It cannot be written .*data\.cacheFolder can name/,
      ),
    ]);
  });

  it('leaves an error to whoever reads the files', async () => {
    const cache = new SetCache(cacheFolder());
    await rm(data);
    await expect(cache.get(identity(), make())).rejects.toThrow('cannot be read (ENOENT');
  });

  it('is used by several at once', async () => {
    const gets = Array.from({ length: 3 }, () => new SetCache(cacheFolder()).get(identity(), make()));
    const [a, ...others] = (await Promise.all(gets)).map(facts);
    for (const other of others) expect(other).toEqual(a);
    expect(await readdir(cacheFolder())).toHaveLength(1);
    expect(facts(await new SetCache(cacheFolder()).get(identity(), make()))).toEqual(a);
    expect(encoded).toBe(3);
  });

  it('removes what was not used for longest beyond its limit, and what killed processes left', async () => {
    await mkdir(cacheFolder());
    const sized = async (name: string, gibibytes: number, agoHours: number): Promise<void> => {
      const path = join(cacheFolder(), name);
      await writeFile(path, '');
      await truncate(path, gibibytes * 2 ** 30);
      const time = new Date(Date.now() - agoHours * 3600 * 1000);
      await utimes(path, time, time);
    };
    const name = (digit: string): string => `${digit.repeat(32)}.set`;
    await sized(name('a'), 8, 1);
    await sized(name('b'), 8, 3);
    await sized(name('c'), 8, 2);
    await sized('.tmp-d.set-123', 1, 48);
    await sized('.tmp-e.set-123', 1, 2);
    await sized('notes.txt', 30, 99);
    await new SetCache(cacheFolder()).get(identity(), make());
    const own = (await readdir(cacheFolder())).filter(
      file => ![name('a'), name('c'), '.tmp-e.set-123', 'notes.txt'].includes(file),
    );
    expect(own).toHaveLength(1);
    expect((await stat(join(cacheFolder(), own[0]!))).size).toBeLessThan(2 ** 30);
  });
});
