/** Model folders: weights, their index, config.json, and the shards of a checkpoint. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SOLO } from '@sralign/native';
import {
  openWeights,
  readSafetensorsHeader,
  readTensorBytes,
  weightFiles,
} from '../../dist/hf/safetensors.js';
import { loadModel, readModelSpec } from '../../dist/model/load.js';
import { openCheckpoint, openShards, readShardsFile } from '../../dist/shard/saved-tensors.js';
import { bytesOf, jsonOf, type Target } from './target.js';

const fixtures = fileURLToPath(new URL('../../test/fixtures/', import.meta.url));
const { cases } = JSON.parse(readFileSync(join(fixtures, 'config-variants/variants.json'), 'utf8')) as {
  cases: { family: string; title: string; config: unknown }[];
};
const plainConfig = (family: string): unknown =>
  cases.find(variant => variant.family === family && variant.title === 'plain')!.config;
const configs = cases.map(({ config }) => jsonOf(config));

/** A small file in the safetensors format. */
function safetensors(header: Readonly<Record<string, unknown>>, dataBytes: number): Uint8Array {
  const text = bytesOf(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataBytes, 1)]);
}

const smallWeights = safetensors(
  {
    __metadata__: { format: 'pt' },
    a: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] },
    b: { dtype: 'BF16', shape: [4], data_offsets: [24, 32] },
    c: { dtype: 'F16', shape: [], data_offsets: [32, 34] },
    d: { dtype: 'I64', shape: [0, 5], data_offsets: [34, 34] },
  },
  34,
);
const SHARD = 'model-00001-of-00001.safetensors';
const shardOf = (rank: number): Uint8Array =>
  safetensors(
    {
      __metadata__: { rank: String(rank), step: '3' },
      flat: { dtype: 'F32', shape: [4], data_offsets: [0, 16] },
      'squares.flat': { dtype: 'F32', shape: [4], data_offsets: [16, 32] },
    },
    32,
  );
const shards = {
  worldSize: 2,
  step: 3,
  moments: ['squares'],
  flats: { flat: 8 },
  tensors: [
    { name: 'x', shape: [2, 3], flat: 'flat', offset: 0 },
    { name: 'y', shape: [1], flat: 'flat', offset: 6 },
  ],
};
const shardFile = (rank: number): string => `shard-0000${rank}-of-00002.safetensors`;

async function readShards(folder: string): Promise<void> {
  const { weights, moments, checkAll } = openShards(folder, await readShardsFile(folder));
  await checkAll();
  for (const tensor of [...weights.values(), ...moments.values()].slice(0, 20)) {
    await tensor.read(
      0,
      tensor.shape.reduce((product, length) => product * length, 1),
    );
  }
}

async function loadAndDispose(folder: string): Promise<void> {
  (await loadModel(folder)).dispose();
}

const familyTargets = (['llama', 'gpt_neox'] as const).flatMap((family): Target[] => {
  const weights = join(fixtures, `config-variants/base-${family}.safetensors`);
  return [
    {
      name: `config-of-${family}`,
      shape: 'json',
      seeds: cases.filter(variant => variant.family === family).map(({ config }) => jsonOf(config)),
      async run(bytes, folder) {
        copyFileSync(weights, join(folder, 'model.safetensors'));
        writeFileSync(join(folder, 'config.json'), bytes);
        await loadAndDispose(folder);
      },
    },
    {
      name: `weights-of-${family}`,
      shape: 'framed',
      seeds: [readFileSync(weights)],
      async run(bytes, folder) {
        writeFileSync(join(folder, 'model.safetensors'), bytes);
        writeFileSync(join(folder, 'config.json'), jsonOf(plainConfig(family)));
        await loadAndDispose(folder);
      },
    },
  ];
});

export const modelTargets: readonly Target[] = [
  {
    name: 'safetensors',
    shape: 'framed',
    seeds: [smallWeights],
    async run(bytes, folder) {
      const file = join(folder, 'model.safetensors');
      writeFileSync(file, bytes);
      const { entries } = await readSafetensorsHeader(file);
      for (const entry of [...entries.values()].slice(0, 20)) await readTensorBytes(entry);
    },
  },
  {
    name: 'weights-index',
    shape: 'json',
    seeds: [jsonOf({ metadata: { total_size: 34 }, weight_map: { a: SHARD, b: SHARD, c: SHARD, d: SHARD } })],
    async run(bytes, folder) {
      writeFileSync(join(folder, SHARD), smallWeights);
      writeFileSync(join(folder, 'model.safetensors.index.json'), bytes);
      await weightFiles(folder);
      await openWeights(folder);
    },
  },
  {
    name: 'model-config',
    shape: 'json',
    seeds: configs,
    async run(bytes, folder) {
      writeFileSync(join(folder, 'config.json'), bytes);
      await readModelSpec(folder);
    },
  },
  ...familyTargets,
  {
    name: 'shards-json',
    shape: 'json',
    seeds: [jsonOf(shards)],
    async run(bytes, folder) {
      for (const rank of [0, 1]) writeFileSync(join(folder, shardFile(rank)), shardOf(rank));
      writeFileSync(join(folder, 'shards.json'), bytes);
      await readShards(folder);
    },
  },
  {
    name: 'shard-file',
    shape: 'framed',
    seeds: [shardOf(1)],
    async run(bytes, folder) {
      writeFileSync(join(folder, shardFile(0)), shardOf(0));
      writeFileSync(join(folder, shardFile(1)), bytes);
      writeFileSync(join(folder, 'shards.json'), jsonOf(shards));
      await readShards(folder);
    },
  },
  {
    name: 'optimizer-file',
    shape: 'framed',
    seeds: [smallWeights],
    async run(bytes, folder) {
      writeFileSync(join(folder, 'model.safetensors'), smallWeights);
      writeFileSync(join(folder, 'optimizer.safetensors'), bytes);
      const checkpoint = await openCheckpoint(folder, SOLO);
      await checkpoint.weights();
      for (const tensor of (await checkpoint.moments()).values()) await tensor.read(0, 1);
    },
  },
];
