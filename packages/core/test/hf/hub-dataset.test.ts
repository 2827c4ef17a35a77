/** A data set of the hub becomes files of the cache, from a hub on this machine. */
import { createHash } from 'node:crypto';
import { readFile, readlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import { DataError } from '../../src/errors.js';
import { resolveSources } from '../../src/hf/data-sources.js';
import { type HubDataset, hubDatasetFiles } from '../../src/hf/hub-dataset.js';
import { temporaryFolder } from '../support.js';
import { useCache } from './hub-server.js';

const MAIN = 'a'.repeat(40);
const CONVERTED = 'c'.repeat(40);
type Files = Readonly<Record<string, string>>;

/** A hub with the data set `org/pairs`; its conversion is a branch of it. */
async function startHub(main: Files, converted: Files | null = null) {
  const asked: string[] = [];
  const commits: Record<string, Files | null> = { [MAIN]: main, [CONVERTED]: converted };
  const refs: Record<string, string> = { main: MAIN, 'refs/convert/parquet': CONVERTED };
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url!, 'http://localhost').pathname);
    asked.push(path);
    const json = (value: unknown): void => {
      response.setHeader('Content-Type', 'application/json').end(JSON.stringify(value));
    };
    const missing = (): void => {
      response.statusCode = 404;
      json({ error: 'not found' });
    };
    const ref = /^\/api\/datasets\/org\/pairs\/revision\/(.+)$/.exec(path)?.[1];
    if (ref !== undefined) {
      const sha = refs[ref] ?? ref;
      return commits[sha] ? json({ id: 'org/pairs', sha }) : missing();
    }
    const tree = /^\/api\/datasets\/org\/pairs\/tree\/(\w+)$/.exec(path)?.[1];
    if (tree !== undefined) return json(Object.entries(commits[tree] ?? {}).map(listed));
    const [, sha, name] = /^\/datasets\/org\/pairs\/resolve\/(\w+)\/(.+)$/.exec(path) ?? [];
    const content = commits[sha!]?.[name!];
    if (content === undefined) return missing();
    response.setHeader('ETag', '"x"');
    if (request.headers.range === 'bytes=0-0') {
      response.statusCode = 206;
      response.setHeader('Content-Range', `bytes 0-0/${content.length}`);
      return response.end(content.slice(0, 1));
    }
    return response.end(content);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { endpoint, asked, [Symbol.asyncDispose]: async () => void server.close() };
}

function listed([path, text]: [string, string]) {
  const lfs = { oid: createHash('sha256').update(text).digest('hex'), size: text.length, pointerSize: 130 };
  return { type: 'file', path, oid: 'd'.repeat(40), size: text.length, lfs };
}

afterEach(() => vi.unstubAllEnvs());

const PAIRS: HubDataset = { id: 'org/pairs', revision: 'main', config: null, split: null };

/** The contents of the files, or the message of the error. */
async function outcome(
  main: Files,
  converted: Files | null,
  request: Partial<HubDataset>,
  purpose: 'training' | 'evaluation' = 'training',
) {
  await using folder = await temporaryFolder();
  await using hub = await startHub(main, converted);
  useCache(folder.path, { HF_ENDPOINT: hub.endpoint });
  try {
    const { files } = await hubDatasetFiles({ ...PAIRS, ...request }, purpose);
    return await Promise.all(files.map(file => readFile(file, 'utf8')));
  } catch (error) {
    expect(error).toBeInstanceOf(DataError);
    return (error as Error).message.replace(hub.endpoint, 'HUB');
  }
}

const OWN = {
  'README.md': 'a card',
  'data/train-00001-of-00002.parquet': 'train 1',
  'data/train-00000-of-00002.parquet': 'train 0',
  'data/test-00000-of-00001.parquet': 'test',
};
const CARD = `---
configs:
- config_name: easy
  data_files:
  - {split: train, path: "easy/t-*"}
  - {split: held_out, path: [easy/h.jsonl, easy/i.jsonl]}
- config_name: hard
  default: true
  data_files: hard/*.jsonl
---
`;
const STATED = {
  'README.md': CARD,
  'easy/t-1.jsonl': 'E1',
  'easy/t-0.jsonl': 'E0',
  'easy/h.jsonl': 'H',
  'easy/i.jsonl': 'I',
  'hard/x.jsonl': 'X',
};
const LINES = { 'harmless/train.jsonl.gz': 'own', 'harmless/test.jsonl.gz': 'own test' };
const AUTO = {
  'default/train/0001.parquet': 'auto 1',
  'default/train/0000.parquet': 'auto 0',
  'default/test/0000.parquet': 'auto test',
};

it.each<[string, Files, Files | null, Partial<HubDataset>, string | string[]]>([
  ['its Parquet files', OWN, AUTO, {}, ['train 0', 'train 1']],
  ['a split', OWN, null, { split: 'test' }, ['test']],
  ['what the hub converted', LINES, AUTO, {}, ['auto 0', 'auto 1']],
  ['its other files where nothing was converted', LINES, null, {}, ['own']],
  ['no facts about it', { ...LINES, 'dataset_infos.json': '{}', 'state.json': '{}' }, null, {}, ['own']],
  ['its other files of another revision', LINES, AUTO, { revision: MAIN }, ['own']],
  ['a folder of it', LINES, AUTO, { config: 'harmless', split: 'test' }, ['own test']],
  ['what its card states', STATED, null, { config: 'easy' }, ['E0', 'E1']],
  ['any split that its card states', STATED, null, { config: 'easy', split: 'held_out' }, ['H', 'I']],
  ['the default of its card', STATED, null, {}, ['X']],
  [
    'no such configuration',
    STATED,
    null,
    { config: 'simple' },
    'org/pairs (hub), field "config": It has no configuration "simple". There are easy, hard.',
  ],
  [
    'no such split',
    OWN,
    null,
    { split: 'dev' },
    'org/pairs (hub), field "split": It has no split "dev". There are test, train.',
  ],
  [
    'no such split of the conversion',
    { 'a.txt': '' },
    AUTO,
    { split: 'dev' },
    'It has no split "dev". There are test, train.',
  ],
  [
    'nothing that can be read',
    { 'a.arrow': '' },
    null,
    {},
    'org/pairs (hub): The data set has no file that can be read.',
  ],
  ['no such data set', OWN, null, { id: 'org/none' }, 'org/none (hub): The download from HUB failed'],
  ['a branch that leads out of the cache', OWN, null, { revision: '../x' }, 'is not the name of a branch'],
  [
    'a file that leads out of the cache',
    { '../../evil.jsonl': 'x' },
    null,
    {},
    'the hub gives "../../evil.jsonl" as the name of a file',
  ],
])('%s', async (_, main, converted, request, expected) => {
  const found = await outcome(main, converted, request);
  if (typeof expected === 'string') expect(found).toContain(expected);
  else expect(found).toEqual(expected);
});

it('takes the test split for evaluation', async () => {
  expect(await outcome(OWN, null, {}, 'evaluation')).toEqual(['test']);
});

it('is a source of a run, beside local files', async () => {
  await using folder = await temporaryFolder();
  await using hub = await startHub(OWN);
  useCache(folder.path, { HF_ENDPOINT: hub.endpoint });
  const local = join(folder.path, 'own.jsonl');
  await writeFile(local, '');
  const { data } = parseConfig({
    method: 'dpo',
    model: { path: 'model' },
    data: {
      train: [{ hub: 'org/pairs', weight: 0.5, format: 'hh' }, local],
      eval: { hub: 'org/pairs', name: 'held' },
    },
    output: { folder: 'run' },
  });
  await expect(resolveSources({ data }, 'training', { offline: true })).rejects.toThrow(
    'does not hold revision "main". It is downloaded when a run starts.',
  );
  const {
    sources: [first, second],
    notices,
  } = await resolveSources({ data }, 'training');
  expect(notices).toEqual([
    'data.train: org/pairs (hub): the split train is read (2 files); 1 file of test is left out: ' +
      'data/test-00000-of-00001.parquet. Name another split by {split: …}.',
  ]);
  expect(first).toMatchObject({ weight: 0.5, format: 'hh', name: null });
  expect(await Promise.all(first!.files.map(file => readFile(file, 'utf8')))).toEqual(['train 0', 'train 1']);
  expect(second).toEqual({ files: [local], name: null, weight: 1 });
  const {
    sources: [held],
  } = await resolveSources({ data }, 'evaluation');
  expect(held).toMatchObject({ name: 'held', weight: 1 });
  expect(held!.files.map(file => file.slice(file.indexOf('data/')))).toEqual([
    'data/test-00000-of-00001.parquet',
  ]);
});

it('asks the hub once, links blobs as all Hugging Face tools do, and needs no network afterwards', async () => {
  await using folder = await temporaryFolder();
  await using hub = await startHub(LINES, AUTO);
  useCache(folder.path, { HF_ENDPOINT: hub.endpoint });
  const { files, notice } = await hubDatasetFiles(PAIRS, 'training');
  const repository = join(folder.path, 'hub', 'datasets--org--pairs');
  expect(files[0]).toBe(join(repository, 'snapshots', CONVERTED, 'default/train/0000.parquet'));
  const blob = createHash('sha256').update('auto 0').digest('hex');
  expect(await readlink(files[0]!)).toBe(join('..', '..', '..', '..', 'blobs', blob));
  const requests = hub.asked.length;
  expect(await hubDatasetFiles(PAIRS, 'training')).toEqual({ files, notice });
  expect(hub.asked).toHaveLength(requests);
  vi.stubEnv('HF_HUB_OFFLINE', '1');
  expect(await hubDatasetFiles(PAIRS, 'training')).toEqual({ files, notice });
  await expect(hubDatasetFiles({ ...PAIRS, split: 'test' }, 'evaluation')).rejects.toThrow(
    'Unset HF_HUB_OFFLINE',
  );
  await expect(hubDatasetFiles({ ...PAIRS, id: 'org/other' }, 'training')).rejects.toThrow(
    'does not hold revision "main". Unset HF_HUB_OFFLINE to download it.',
  );
  expect(hub.asked).toHaveLength(requests);
});
