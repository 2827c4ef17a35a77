/** What a run writes for itself: its checkpoints, its record, its metrics, and the cache of the reference. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SOLO } from '@sralign/native';
import { verifyCheckpoint, writeChecksums } from '../../dist/checkpoint/checksums.js';
import { readRecord, recordedBytes } from '../../dist/checkpoint/run-record.js';
import { loadConfig, stringifyConfig } from '../../dist/config/load.js';
import { readMetrics } from '../../dist/metrics/jsonl.js';
import { ReferenceCache } from '../../dist/reference/cache.js';
import { RecordsFile } from '../../dist/reference/records.js';
import { chunkOf, examplesOf } from '../../dist/tokens/example-store.js';
import { readSet, type StoredSet, writeSet } from '../../dist/tokens/set-file.js';
import { templateClock } from '../../dist/train/clock.js';
import { checkInputs, digestText } from '../../dist/train/inputs.js';
import { checkRun, writeResult } from '../../dist/train/resume.js';
import { readTrainerState } from '../../dist/train/state.js';
import { bytesOf, jsonOf, type Target } from './target.js';

const demo = fileURLToPath(new URL('../../../../examples/demo/sr-dpo.yaml', import.meta.url));
const MODEL_KEY = 'f32'.padEnd(64, '0');

const inputs = {
  train: { sha256: digestText('a'), pairs: 3, pairDigests: Buffer.alloc(24, 1).toString('base64') },
  eval: null,
  tokenizer: digestText('b'),
  chatTemplate: null,
  model: digestText('c'),
  reference: null,
};

/** What the product itself writes, read back as a seed. */
async function written(
  write: (folder: string) => Promise<unknown> | unknown,
  name: string,
): Promise<Uint8Array> {
  const folder = mkdtempSync(join(tmpdir(), 'sralign-fuzz-seed-'));
  try {
    await write(folder);
    return readFileSync(join(folder, name));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const RESULT = {
  finalFolder: 'final',
  steps: 3,
  finalStep: 3,
  best: null,
  stoppedEarly: false,
  interrupted: false,
  metrics: { eval_loss: 0.5 },
  intervals: {},
  seconds: 12.5,
};

const SET_KEY = digestText('set');
const CHUNK = chunkOf([
  {
    ...{
      file: 'a.jsonl',
      row: 1,
      prompt: Int32Array.of(1, 2),
      chosen: Int32Array.of(3),
      rejected: Int32Array.of(4),
    },
    ...{ augmentedPrompt: Int32Array.of(2), cut: { promptTokens: 0, chosenTokens: 1, rejectedTokens: 0 } },
  },
]);
const SET: StoredSet = {
  encoded: {
    ...{
      pairs: examplesOf(CHUNK),
      chunks: [CHUNK],
      sharedAugmentation: Int32Array.of(1, 5),
      augmented: true,
    },
    ...{ tokenizerHash: digestText('b'), reports: [], readReports: [], rowCounts: [] },
  },
  notice: null,
};

const CHECKED = { 'config.json': '{}', 'trainer-state.json': '{"a": 1}' };
function writeChecked(folder: string): void {
  for (const [name, content] of Object.entries(CHECKED)) writeFileSync(join(folder, name), content);
}

const fileTarget = (
  name: string,
  shape: Target['shape'],
  seeds: readonly Uint8Array[],
  file: string,
  read: (folder: string) => Promise<unknown>,
): Target => ({
  name,
  shape,
  seeds,
  async run(bytes, folder) {
    writeFileSync(join(folder, file), bytes);
    await read(folder);
  },
});

export const checkpointTargets: readonly Target[] = [
  fileTarget(
    'trainer-state',
    'json',
    [
      jsonOf({
        step: 3,
        sampler: { epoch: 1, position: 2 },
        keepBest: 'eval_loss',
        best: { metric: 'eval_loss', value: 0.5, step: 2 },
        evaluationsSinceBest: 1,
      }),
    ],
    'trainer-state.json',
    readTrainerState,
  ),
  fileTarget(
    'inputs',
    'json',
    [jsonOf(inputs), jsonOf({ ...inputs, eval: inputs.train })],
    'inputs.json',
    folder => checkInputs(folder, inputs, 'model.tokenizer'),
  ),
  fileTarget(
    'checksums',
    'json',
    [
      await written(async folder => {
        writeChecked(folder);
        await writeChecksums(folder, {}, SOLO);
      }, 'checksums.json'),
    ],
    'checksums.json',
    async folder => {
      writeChecked(folder);
      await verifyCheckpoint(folder, SOLO);
    },
  ),
  fileTarget('clock', 'json', [jsonOf({ templateNow: '2026-01-31T12:00:00' })], 'clock.json', folder =>
    templateClock(folder, true, SOLO),
  ),
  fileTarget(
    'result',
    'json',
    [await written(folder => writeResult({ ...RESULT, runFolder: folder }), 'result.json')],
    'result.json',
    async folder => {
      const config = await loadConfig(demo, [`output.folder=${folder}`]);
      writeFileSync(join(folder, 'config.yaml'), stringifyConfig(config));
      mkdirSync(join(folder, 'final'));
      writeFileSync(join(folder, 'final', 'config.json'), '{}');
      await checkRun(config, SOLO);
    },
  ),
  fileTarget(
    'run-config',
    'bytes',
    [bytesOf(stringifyConfig(await loadConfig(demo)))],
    'config.yaml',
    async folder => checkRun(await loadConfig(demo, [`output.folder=${folder}`]), SOLO),
  ),
  {
    name: 'run-record',
    shape: 'lines',
    seeds: [bytesOf('\n"config.yaml"\n"checkpoints/step-000001/a"\n"final/"\n"../x"\n"/etc"\n"a\\u0000"\n')],
    async run(bytes, folder) {
      mkdirSync(join(folder, '.sralign'));
      writeFileSync(join(folder, '.sralign', 'run.json'), '{}');
      writeFileSync(join(folder, '.sralign', 'files-00000.jsonl'), bytes);
      await recordedBytes(folder, (await readRecord(folder))!);
    },
  },
  fileTarget(
    'metrics',
    'lines',
    [bytesOf('{"step":1,"loss":0.5,"time":1}\n{"step":2,"loss":"NaN"}\n')],
    'metrics.jsonl',
    folder => readMetrics(join(folder, 'metrics.jsonl')),
  ),
  fileTarget(
    'reference-cache',
    'lines',
    [
      await written(
        folder =>
          new RecordsFile(join(folder, 'x'), MODEL_KEY).append([
            ['a'.repeat(24), { chosen: -1.5, rejected: -2e-7 }],
            ['b'.repeat(24), { chosen: 0, rejected: -1e21 }],
          ]),
        'x',
      ),
    ],
    `${MODEL_KEY.slice(0, 16)}.jsonl`,
    async folder => new ReferenceCache(folder, MODEL_KEY).damagedRecords,
  ),
  // What is damaged is encoded again: no error is right.
  fileTarget(
    'encoded-set',
    'bytes',
    [await written(folder => writeSet(join(folder, 'a.set'), SET_KEY, SET), 'a.set')],
    'a.set',
    folder => readSet(join(folder, 'a.set'), SET_KEY),
  ),
];
