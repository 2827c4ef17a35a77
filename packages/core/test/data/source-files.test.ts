/** A path stands for a file, a folder of shards or a pattern, and always for the same files in the same order. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { filesOfPath } from '../../src/data/source-files.js';
import { DataError } from '../../src/errors.js';
import { temporaryFolder } from '../support.js';

async function folderOf(...names: readonly string[]) {
  const folder = await temporaryFolder();
  for (const name of names) {
    await mkdir(dirname(join(folder.path, name)), { recursive: true });
    await writeFile(join(folder.path, name), '');
  }
  return folder;
}

type Purpose = 'training' | 'evaluation';

async function outcome(names: readonly string[], path: string, split: string | null, purpose: Purpose) {
  await using folder = await folderOf(...names);
  const place = join(folder.path, path);
  const found = await filesOfPath(place, split, purpose).catch((error: unknown) => {
    expect(error).toBeInstanceOf(DataError);
    return (error as Error).message;
  });
  const short = (text: string): string => text.replaceAll(`${folder.path}/`, '').replaceAll(folder.path, '.');
  if (typeof found === 'string') return { message: short(found) };
  return { files: found.files.map(short), notice: found.notice === null ? null : short(found.notice) };
}

const shards = (split: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `data/${split}-0000${i}-of-0000${count}.parquet`);

const HUB_LAYOUT = [
  ...shards('train_prefs', 2),
  ...shards('test_prefs', 1),
  ...shards('train_sft', 1),
  'README.md',
  'dataset_infos.json',
];
const HH = ['harmless-base', 'helpful-base'].flatMap(part =>
  ['train', 'test'].map(split => `${part}/${split}.jsonl.gz`),
);

it.each<[string, string[], string, string | null, Purpose, string | string[]]>([
  ['a file', ['b.jsonl'], 'b.jsonl', null, 'training', ['b.jsonl']],
  [
    'a folder of one split',
    ['b.jsonl', 'a.csv.gz', '.hidden.jsonl', 'notes.txt'],
    '',
    null,
    'training',
    ['a.csv.gz', 'b.jsonl'],
  ],
  [
    'a name that every object of JavaScript has',
    ['constructor.jsonl'],
    '',
    null,
    'training',
    ['constructor.jsonl'],
  ],
  ['shards, sorted', shards('train', 3).reverse(), '', null, 'training', shards('train', 3)],
  ['the training split', ['train.jsonl', 'test.jsonl'], '', null, 'training', ['train.jsonl']],
  ['the test split', ['train.jsonl', 'test.jsonl', 'dev.jsonl'], '', null, 'evaluation', ['test.jsonl']],
  [
    'validation where there is no test',
    ['my_train.jsonl', 'my_valid.jsonl'],
    '',
    null,
    'evaluation',
    ['my_valid.jsonl'],
  ],
  ['a named split', HUB_LAYOUT, '', 'train_prefs', 'training', shards('train_prefs', 2)],
  [
    'splits in folders',
    HH,
    '',
    'test',
    'evaluation',
    ['harmless-base/test.jsonl.gz', 'helpful-base/test.jsonl.gz'],
  ],
  [
    'splits as folders',
    ['train/a.json', 'validation/b.json'],
    '',
    'validation',
    'training',
    ['validation/b.json'],
  ],
  [
    'a split by the nearest name',
    ['test/data/my_train.jsonl', 'test/data/test.jsonl'],
    '**',
    'train',
    'training',
    ['test/data/my_train.jsonl'],
  ],
  ['a split under its other name', ['dev.tsv', 'train.tsv'], '', 'validation', 'evaluation', ['dev.tsv']],
  ['a folder named', ['red/a.jsonl', 'blue/b.jsonl'], '', 'blue', 'training', ['blue/b.jsonl']],
  [
    'a pattern',
    [...HH, 'helpful-base/x.txt'],
    '*/train.jsonl.gz',
    null,
    'training',
    ['harmless-base/train.jsonl.gz', 'helpful-base/train.jsonl.gz'],
  ],
  [
    'a pattern and a split',
    HH,
    'h*/**',
    'train',
    'training',
    ['harmless-base/train.jsonl.gz', 'helpful-base/train.jsonl.gz'],
  ],
  [
    'a file whose name looks like a pattern',
    ['a[1].jsonl', 'a1.jsonl'],
    'a[1].jsonl',
    null,
    'training',
    ['a[1].jsonl'],
  ],
  [
    'a split of a file',
    ['a.jsonl'],
    'a.jsonl',
    'test',
    'training',
    'a.jsonl, field "split": A file is no split',
  ],
  [
    'no split of several',
    HUB_LAYOUT,
    '',
    null,
    'training',
    '., field "split": It has several splits, and none is named. There are test_prefs, train_prefs, train_sft.',
  ],
  [
    'no such split',
    ['train.jsonl'],
    '',
    'test',
    'evaluation',
    '., field "split": It has no split "test". There are train.',
  ],
  [
    'a missing shard',
    shards('train', 3).slice(1),
    '',
    null,
    'training',
    '.: The shard data/train-00000-of-00003.parquet is missing. 2 of 3 are there; fetch the rest.',
  ],
  ['no file that matches', [], '*.jsonl', null, 'training', '*.jsonl: No file matches this pattern.'],
  ['an empty folder', ['a.txt'], '', null, 'training', '.: The folder holds no data file. Supported: .jsonl'],
  [
    'a folder of Arrow',
    ['data-00000-of-00001.arrow', 'state.json', 'dataset_info.json'],
    '',
    null,
    'training',
    '.: The folder holds no data file. Files of Arrow are not read',
  ],
])('%s', async (_, names, path, split, purpose, expected) => {
  const { message, files } = await outcome(names, path, split, purpose);
  if (typeof expected === 'string') expect(message).toContain(expected);
  else expect(files).toEqual(expected);
});

it.each<[string[], string | null, Purpose, string | null]>([
  [
    ['cars.jsonl', 'crash-test-reports.jsonl'],
    null,
    'training',
    '.: the split train is read (1 file); 1 file of test is left out: crash-test-reports.jsonl. Name another split',
  ],
  [
    [...HH, 'dev.jsonl', 'extra/valid/0.csv', 'extra/valid/1.csv'],
    null,
    'training',
    '.: the split train is read (2 files); 5 files of test, validation are left out: ' +
      'harmless-base/test.jsonl.gz, helpful-base/test.jsonl.gz, dev.jsonl, …. Name',
  ],
  [
    ['train.jsonl', 'test.jsonl'],
    null,
    'evaluation',
    'the split test is read (1 file); 1 file of train is left out: train.jsonl.',
  ],
  [['train.jsonl', 'test.jsonl'], 'train', 'training', null],
  [['testimony.jsonl', 'latest.jsonl', 'constrain.jsonl', 'contest-entries.jsonl'], null, 'training', null],
  [['train/crash-test.jsonl', 'train/cars.jsonl'], null, 'training', null],
])(
  'says what of %j is left out, unless the split %s is named (%s)',
  async (names, split, purpose, expected) => {
    const { files, notice } = await outcome(names, '', split, purpose);
    if (expected === null) expect(notice).toBeNull();
    else expect(notice).toContain(expected);
    if (split === null && expected === null) expect(files).toEqual(names.toSorted());
  },
);

it('follows links, as the cache of the hub has them', async () => {
  await using folder = await folderOf('blobs/1234');
  await mkdir(join(folder.path, 'data'));
  await symlink(join('..', 'blobs', '1234'), join(folder.path, 'data/train.parquet'));
  const data = join(folder.path, 'data');
  expect((await filesOfPath(data, null, 'training')).files).toEqual([join(data, 'train.parquet')]);
});

it('says how a data set of the hub is written', async () => {
  await expect(filesOfPath('org/pairs', null, 'training')).rejects.toThrow(
    'org/pairs: There is no such file or folder. A data set of the Hugging Face hub is written {hub: org/pairs}.',
  );
});
