/** Preference data of every kind of file, and the configuration. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { parquetWriteFile } from 'hyparquet-writer';
import { loadConfig, stringifyConfig } from '../../dist/config/load.js';
import { FORMAT_NAMES } from '../../dist/data/formats/index.js';
import { readPreferenceRows } from '../../dist/data/read.js';
import { bytesOf, jsonOf, type Target, textOf } from './target.js';

const repository = fileURLToPath(new URL('../../../../', import.meta.url));

type Format = 'auto' | (typeof FORMAT_NAMES)[number];
/** `auto` reads what it recognises; a named format what it is given. */
const FORMATS: readonly Format[] = ['auto', ...FORMAT_NAMES];

const turn = (role: string, content: string) => ({ role, content });
const chat = (answer: string) => [turn('user', 'Hi 日本 😀'), turn('assistant', answer)];
const RECORDS: Readonly<Record<Format, readonly unknown[]>> = {
  auto: [{ query: 'Q', good: 'a', votes: [1, { by: null }] }],
  hh: [
    { chosen: '\n\nHuman: Hi\n\nAssistant: Hello.', rejected: '\n\nHuman: Hi\n\nAssistant: No.' },
    {
      chosen: '\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d',
      rejected: '\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: é',
    },
  ],
  preference: [
    { prompt: 'Q', chosen: 'yes', rejected: 'no', score: 1e3 },
    { prompt: 'Q2', chosen: 'same', rejected: 'same' },
  ],
  conversational: [
    {
      prompt: [turn('system', 'S'), turn('user', 'U')],
      chosen: [turn('assistant', 'A')],
      rejected: [turn('assistant', 'B')],
    },
    { chosen: chat('A'), rejected: chat('B') },
  ],
  ultrafeedback: [
    { prompt: 'Hi 日本 😀', chosen: chat('A'), rejected: chat('B'), score_chosen: 9, score_rejected: 1.5 },
  ],
  orca: [{ system: 'S', question: 'Q', chosen: 'A', rejected: 'B' }],
  sharegpt: [
    {
      conversations: [{ from: 'human', value: 'Q' }],
      chosen: { from: 'gpt', value: 'A' },
      rejected: { from: 'gpt', value: 'B' },
    },
  ],
  compared: [
    { input: 'Q', output_1: 'A', output_2: 'B', label: 2 },
    {
      instruction: 'Q',
      input: 'I',
      response1: 'A',
      response2: 'B',
      annotator1: 1,
      annotator2: 0,
      annotator3: 1,
    },
    { history: 'Q', human_ref_A: 'A', human_ref_B: 'B', score_A: 3, score_B: '4' },
  ],
  ranked: [
    { prompt: 'Q', answers: ['A', 'B', 'C'], scores: [1, 2.5, 2] },
    {
      prompt: 'Q',
      completions: [
        { response: 'A', rank: 2 },
        { response: 'B', rank: 1 },
      ],
    },
  ],
  'qa-feedback': [
    {
      question: 'Q',
      passages: [['T', 'A sentence.']],
      ...Object.fromEntries([1, 2, 3, 4].map(number => [`prediction ${number}`, `${number}`])),
      preference: [0, 1, 2, 1, 1, 2],
    },
  ],
  messages: [
    { messages: chat('A'), tools: [{ type: 'function', function: { name: 'f' } }], label: true },
    {
      messages: [
        turn('user', 'Q'),
        { role: 'assistant', content: null, tool_calls: [{ function: { name: 'f', arguments: '{}' } }] },
        { role: 'tool', content: [{ type: 'text', text: 'é' }], tool_call_id: '1' },
        turn('assistant', 'A'),
      ],
      tools: '[{"type": "function"}]',
    },
    {
      conversations: [
        { from: 'human', value: 'Q' },
        { from: 'function_call', value: '{"name": "f", "arguments": {}}' },
        { from: 'observation', value: '3' },
        { from: 'gpt', value: 'A' },
      ],
    },
  ],
  'prompt-completion': [
    { prompt: 'Q', completion: ' A', label: false },
    {
      prompt: [turn('user', 'Q')],
      completion: [turn('assistant', 'A'), turn('tool', 'T'), turn('assistant', 'B')],
    },
    { instruction: 'Q', input: 'I', output: 'A' },
  ],
  text: [{ text: 'Once 😀' }, { text: ' ' }],
  oasst: [
    {
      prompt: {
        role: 'prompter',
        text: 'Q',
        replies: [
          { role: 'assistant', text: 'A', rank: 1, replies: [] },
          { role: 'assistant', text: 'B', rank: 0, replies: [{ role: 'prompter', text: 'R', replies: [] }] },
        ],
      },
    },
  ],
};

/** Reads `bytes` as a file of this kind in every format that its text may be in. */
const readAs =
  (extension: string, formats: readonly Format[] = FORMATS): Target['run'] =>
  async (bytes, folder) => {
    const file = join(folder, `data${extension}`);
    writeFileSync(file, bytes);
    let last: unknown;
    for (const format of formats) {
      await readPreferenceRows([file], format, { pairs: 'all', method: 'sft' }).catch(error => {
        last = error;
        if (error?.code !== 'ERR_DATA') throw error;
      });
    }
    if (last !== undefined) throw last;
  };

const lines = FORMATS.map(format =>
  bytesOf(`${RECORDS[format].map(record => JSON.stringify(record)).join('\n')}\n`),
);
const arrays = FORMATS.map(format => jsonOf(RECORDS[format]));

const tables = [
  'prompt,chosen,rejected\nQ,yes,no\n"a ""quoted"", word","two\nlines",\n',
  '\uFEFFrejected,prompt,chosen\r\n日本,😀,é\r\n',
].map(bytesOf);

const zstdSeeds = (): Uint8Array[] =>
  ['level-19', 'two-frames'].map(name =>
    readFileSync(join(repository, `packages/core/test/fixtures/zstd/${name}.jsonl.zst`)),
  );

function parquetSeeds(): Uint8Array[] {
  const folder = mkdtempSync(join(tmpdir(), 'sralign-fuzz-parquet-'));
  const text = (name: string, repeats: number) => ({
    name,
    type: 'STRING' as const,
    data: Array.from({ length: 20 }, (_, row) => `${name} ${Math.floor(row / repeats)} café`),
  });
  const seeds = (['UNCOMPRESSED', 'SNAPPY', 'GZIP', 'BROTLI'] as const).flatMap(codec =>
    [1, 10].map(repeats => {
      const filename = join(folder, `${codec}-${repeats}`);
      const columnData = ['prompt', 'chosen', 'rejected'].map(name => text(name, repeats));
      parquetWriteFile({
        filename,
        columnData,
        codec,
        compressors: { GZIP: gzipSync, BROTLI: brotliCompressSync },
        rowGroupSize: 10,
      });
      return readFileSync(filename);
    }),
  );
  rmSync(folder, { recursive: true });
  return seeds;
}

const recipe = (name: string): Uint8Array => readFileSync(join(repository, 'examples', name));

const OVERRIDES = `training.batchPairs=4
optimizer={name: adamw, learningRate: 1e-3}
data.train=[a.jsonl, b.jsonl]
checkpoint.keepLast=all
loss.beta=0.1
evaluation=null
__proto__.polluted=1
constructor.prototype.polluted=1
output.folder="a b"
=1
a.=1
.=
schedule.warmupSteps=9007199254740993`;

export const dataTargets: readonly Target[] = [
  { name: 'jsonl', shape: 'lines', seeds: lines, run: readAs('.jsonl') },
  { name: 'json', shape: 'json', seeds: arrays, run: readAs('.json') },
  {
    name: 'jsonl-compressed',
    shape: 'lines',
    seeds: lines,
    run: (bytes, folder) => readAs('.jsonl.gz')(gzipSync(bytes, { level: 1 }), folder),
  },
  { name: 'gz', shape: 'bytes', seeds: lines.map(bytes => gzipSync(bytes)), run: readAs('.jsonl.gz') },
  { name: 'json-gz', shape: 'bytes', seeds: arrays.map(bytes => gzipSync(bytes)), run: readAs('.json.gz') },
  { name: 'csv', shape: 'bytes', seeds: tables, run: readAs('.csv', ['preference', 'hh']) },
  { name: 'zst', shape: 'bytes', seeds: zstdSeeds(), run: readAs('.jsonl.zst', ['hh']) },
  { name: 'parquet', shape: 'bytes', seeds: parquetSeeds(), run: readAs('.parquet', ['preference']) },
  {
    name: 'config',
    shape: 'bytes',
    seeds: ['demo/sr-dpo.yaml', 'demo/sft.yaml', 'recipes/hh-pythia-2.8b/sr-dpo.yaml'].map(recipe),
    async run(bytes, folder) {
      const file = join(folder, 'config.yaml');
      writeFileSync(file, bytes);
      stringifyConfig(await loadConfig(file));
    },
  },
  {
    name: 'set',
    shape: 'bytes',
    seeds: OVERRIDES.split('\n').map(bytesOf),
    run: bytes => loadConfig(join(repository, 'examples/demo/sr-dpo.yaml'), textOf(bytes).split('\n')),
  },
];
