/** `sralign consolidate` on a checkpoint whose bytes are written out here. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { MODEL, sralign, TemporaryFolder } from './run.js';

/** A safetensors file of f32 vectors. */
function safetensors(
  tensors: Readonly<Record<string, readonly number[]>>,
  metadata: Readonly<Record<string, string>>,
): Buffer {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let end = 0;
  for (const [name, values] of Object.entries(tensors)) {
    header[name] = { dtype: 'F32', shape: [values.length], data_offsets: [end, end + 4 * values.length] };
    end += 4 * values.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.from(Float32Array.from(Object.values(tensors).flat()).buffer)]);
}

/** Two ranks with half each of a flat that holds `a` [2, 2], a hole, and `b` [3]. */
function writeCheckpoint(folder: string): void {
  mkdirSync(folder);
  const file = {
    worldSize: 2,
    step: 100,
    moments: ['square_average'],
    flats: { 'layers.0.f32': 10 },
    tensors: [
      { name: 'b', shape: [3], flat: 'layers.0.f32', offset: 6 },
      { name: 'a', shape: [2, 2], flat: 'layers.0.f32', offset: 2 },
    ],
  };
  writeFileSync(join(folder, 'shards.json'), JSON.stringify(file));
  writeFileSync(join(folder, 'config.json'), '{"model_type": "llama", "torch_dtype": "float32"}');
  for (const [rank, values] of [
    [0, 0, 1, 2, 3],
    [4, 5, 6, 7, 0],
  ].entries()) {
    const shard = { 'layers.0.f32': values, 'square_average.layers.0.f32': [9, 9, 9, 9, 9] };
    writeFileSync(
      join(folder, `shard-0000${rank}-of-00002.safetensors`),
      safetensors(shard, { rank: `${rank}`, step: '100' }),
    );
  }
}

it('writes a model folder from the shards of all ranks', async () => {
  using folder = new TemporaryFolder();
  const [checkpoint, out] = [folder.join('step-000100'), folder.join('out')];
  writeCheckpoint(checkpoint);
  expect(await sralign(['consolidate', checkpoint, out])).toEqual({
    code: 0,
    stdout: `${out}\n`,
    stderr: '',
  });
  expect(readdirSync(out).sort()).toEqual(['config.json', 'model.safetensors']);
  const bytes = readFileSync(join(out, 'model.safetensors'));
  const start = 8 + Number(bytes.readBigUInt64LE());
  expect(JSON.parse(bytes.toString('utf8', 8, start))).toEqual({
    __metadata__: { format: 'pt' },
    b: { dtype: 'F32', shape: [3], data_offsets: [0, 12] },
    a: { dtype: 'F32', shape: [2, 2], data_offsets: [12, 28] },
  });
  const values = Array.from({ length: 7 }, (_, i) => bytes.readFloatLE(start + 4 * i));
  expect(values).toEqual([5, 6, 7, 1, 2, 3, 4]);
});

it('refuses a checkpoint that is whole, or lacks a shard', async () => {
  using folder = new TemporaryFolder();
  const [checkpoint, out] = [folder.join('step-000100'), folder.join('out')];
  expect(await sralign(['consolidate', MODEL, out])).toEqual({
    code: 2,
    stdout: '',
    stderr: `sralign: ${MODEL}: It is a Hugging Face folder already. Copy it.\n`,
  });
  writeCheckpoint(checkpoint);
  rmSync(join(checkpoint, 'shard-00001-of-00002.safetensors'));
  const { code, stderr } = await sralign(['consolidate', checkpoint, out]);
  expect(code).toBe(2);
  expect(stderr).toContain('The shard of rank 1 of 2 is missing.');
  expect(readdirSync(folder.path)).toEqual(['step-000100']);
});
