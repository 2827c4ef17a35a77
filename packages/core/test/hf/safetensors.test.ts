import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModelError } from '../../src/errors.js';
import {
  hasNonFinite,
  openWeights,
  readSafetensorsHeader,
  readTensorBytes,
} from '../../src/hf/safetensors.js';
import { type StoredTensor, writeModelWeights, writeSafetensors } from '../../src/hf/safetensors-writer.js';
import { referenceCases, temporaryFolder } from '../support.js';

const littleEndian = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
};

/** A file with any header, right or wrong. */
const fileOf = (header: unknown, data: Uint8Array): Buffer => {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  return Buffer.concat([littleEndian(BigInt(json.length)), json, data]);
};

const floats = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

const tensor = (name: string, ...values: number[]): StoredTensor => ({
  name,
  dtype: 'F32',
  shape: [values.length],
  bytes: () => floats(...values),
});

/** Name, dtype, shape and bytes of tensors of 0 to 3 axes, some of them empty. */
const tensors: fc.Arbitrary<StoredTensor[]> = fc
  .uniqueArray(
    fc.record({
      name: fc.string({ minLength: 1, unit: 'grapheme' }).filter(name => name !== '__metadata__'),
      dtype: fc.constantFrom('F32' as const, 'BF16' as const),
      shape: fc.array(fc.nat(4), { maxLength: 3 }),
      seed: fc.nat(255),
    }),
    { selector: ({ name }) => name, maxLength: 6 },
  )
  .map(list =>
    list.map(({ seed, ...rest }) => {
      const length = rest.shape.reduce((product, size) => product * size, rest.dtype === 'F32' ? 4 : 2);
      return { ...rest, bytes: () => Uint8Array.from({ length }, (_, i) => (seed + 31 * i) % 256) };
    }),
  );

describe('safetensors files', () => {
  it('give back what was written', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'any.safetensors');
    await fc.assert(
      fc.asyncProperty(tensors, async list => {
        await writeSafetensors(file, list, { step: '3' });
        const { entries, metadata } = await readSafetensorsHeader(file);
        expect(metadata).toEqual({ format: 'pt', step: '3' });
        expect([...entries.keys()].sort()).toEqual(list.map(({ name }) => name).sort());
        for (const { name, dtype, shape, bytes } of list) {
          const entry = entries.get(name)!;
          expect(entry).toMatchObject({ dtype, shape, file });
          expect(Buffer.compare(await readTensorBytes(entry), bytes())).toBe(0);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('hold tensors of any name', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'names.safetensors');
    const names = ['__proto__', 'constructor', 'toString'];
    await writeSafetensors(
      file,
      names.map((name, i) => tensor(name, i)),
    );
    const { entries } = await readSafetensorsHeader(file);
    expect([...entries.keys()]).toEqual(names);
    expect(new Uint8Array(await readTensorBytes(entries.get('__proto__')!))).toEqual(floats(0));
    await writeModelWeights(
      folder.path,
      names.map((name, i) => tensor(name, i)),
      { maxShardBytes: 4 },
    );
    expect((await openWeights(folder.path)).get('__proto__')).toBeDefined();
  });

  it('have the bytes of the format: length, header padded to 8 bytes, data', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'one.safetensors');
    await writeSafetensors(file, [tensor('w', 1, -2)]);
    const json = '{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}';
    const padded = json.padEnd(88);
    expect(await readFile(file)).toEqual(fileOf(padded, floats(1, -2)));
  });

  it('written by the reference implementation can be read', async () => {
    const weights = await openWeights(join(referenceCases, 'gpt_neox', 'model'));
    const norm = weights.get('gpt_neox.final_layer_norm.weight')!;
    expect(norm.dtype).toBe('F32');
    const bytes = await readTensorBytes(norm);
    expect(bytes.byteLength).toBe(4 * norm.shape[0]!);
    expect(hasNonFinite(bytes, 'F32')).toBe(false);
  });

  it('leave the older file and nothing else behind when writing fails', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'w.safetensors');
    await writeSafetensors(file, [tensor('w', 1)]);
    const before = await readFile(file);
    const failing = { ...tensor('v', 2), bytes: () => floats(1, 2) };
    await expect(writeSafetensors(file, [tensor('w', 3), failing])).rejects.toThrow(
      /"v" has 8 bytes, not the 4/,
    );
    await expect(writeSafetensors(file, [tensor('w', 3), tensor('w', 4)])).rejects.toThrow(
      /two tensors.*"w"/,
    );
    expect(await readFile(file)).toEqual(before);
    expect(await readdir(folder.path)).toEqual(['w.safetensors']);
  });
});

const entry = (shape: number[], begin: number, end: number, dtype = 'F32'): unknown => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

const DEFECTS: readonly { name: string; file: Buffer; says: RegExp }[] = [
  { name: 'an empty file', file: Buffer.alloc(0), says: /truncated: it has 0 bytes/ },
  {
    name: 'a header larger than allowed',
    file: Buffer.concat([littleEndian(100_000_001n), Buffer.alloc(64)]),
    says: /header would have 100000001 bytes/,
  },
  {
    name: 'a header length with the top bit set',
    file: Buffer.concat([littleEndian(2n ** 63n), Buffer.alloc(64)]),
    says: /header would have/,
  },
  {
    name: 'a header beyond the file',
    file: Buffer.concat([littleEndian(50n), Buffer.from('{}')]),
    says: /truncated: the header ends at byte 58, the file at byte 10/,
  },
  { name: 'a header that is not JSON', file: fileOf('{"w": ', floats()), says: /not valid JSON/ },
  {
    name: 'a header that is not UTF-8',
    file: Buffer.concat([littleEndian(4n), Buffer.from([0x7b, 0xff, 0xfe, 0x7d])]),
    says: /not valid JSON \(.*encoded data/,
  },
  { name: 'a header that is no object', file: fileOf([1], floats()), says: /not a JSON object/ },
  {
    name: 'metadata that are not texts',
    file: fileOf({ __metadata__: { a: 1 } }, floats()),
    says: /metadata/,
  },
  { name: 'an entry that is no object', file: fileOf({ w: 3 }, floats()), says: /field "w".*shape/ },
  {
    name: 'an unknown dtype',
    file: fileOf({ w: entry([1], 0, 4, 'Q4_0') }, floats(1)),
    says: /field "w".*"Q4_0".*Convert/,
  },
  {
    name: 'a dtype that objects inherit',
    file: fileOf({ w: entry([1], 0, 4, 'toString') }, floats(1)),
    says: /field "w".*"toString"/,
  },
  {
    name: 'a negative size',
    file: fileOf({ w: entry([-1, -1], 0, 4) }, floats(1)),
    says: /field "w".*shape/,
  },
  { name: 'a fractional offset', file: fileOf({ w: entry([1], 0.5, 4.5) }, floats(1)), says: /"w".*offsets/ },
  { name: 'a negative offset', file: fileOf({ w: entry([1], -4, 0) }, floats(1)), says: /"w".*offsets.*-4/ },
  {
    name: 'offsets in the wrong order',
    file: fileOf({ w: entry([1], 4, 0) }, floats(1)),
    says: /"w".*offsets/,
  },
  {
    name: 'a shape that does not fit the bytes',
    file: fileOf({ w: entry([3], 0, 8) }, floats(1, 2)),
    says: /field "w".*F32 and shape \[3\] has 12 bytes, not 8/,
  },
  {
    name: 'a shape that overflows',
    file: fileOf({ w: entry([2 ** 40, 2 ** 40], 0, 8) }, floats(1, 2)),
    says: /field "w".*bytes, not 8/,
  },
  {
    name: 'overlapping tensors',
    file: fileOf({ v: entry([2], 0, 8), w: entry([2], 4, 12) }, floats(1, 2, 3)),
    says: /field "w".*overlap/,
  },
  {
    name: 'a hole between tensors',
    file: fileOf({ v: entry([1], 0, 4), w: entry([1], 8, 12) }, floats(1, 2, 3)),
    says: /field "w".*4 bytes belong to no tensor/,
  },
  {
    name: 'bytes after the last tensor',
    file: fileOf({ w: entry([1], 0, 4) }, floats(1, 2)),
    says: /last 4 bytes belong to no tensor/,
  },
  {
    name: 'truncated data',
    file: fileOf({ v: entry([1], 0, 4), w: entry([2], 4, 12) }, floats(1, 2)),
    says: /field "w".*truncated: the tensor ends at byte (\d+), the file at byte \d+/,
  },
  {
    name: 'a name twice',
    file: fileOf(
      '{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0077" :{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
      floats(1),
    ),
    says: /field "w".*twice/,
  },
];

describe('damaged safetensors files', () => {
  it.each(DEFECTS)('are refused: $name', async ({ file: bytes, says }) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'bad.safetensors');
    await writeFile(file, bytes);
    const error = await readSafetensorsHeader(file).catch(error => error);
    expect(error).toBeInstanceOf(ModelError);
    expect(error.message).toMatch(says);
    expect(error.message).toContain(file);
    expect(error.message).toMatch(/download or copy|Convert/);
  });

  it('are refused wherever a right file is cut', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'cut.safetensors');
    await writeSafetensors(file, [tensor('v', 1, 2), tensor('w', 3)]);
    const whole = await readFile(file);
    for (let length = 0; length < whole.length; length++) {
      await writeFile(file, whole.subarray(0, length));
      await expect(readSafetensorsHeader(file)).rejects.toThrow(/truncated/);
    }
  });

  it('are refused when they shrink after their header was read', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'w.safetensors');
    await writeSafetensors(file, [tensor('w', 1, 2)]);
    const { entries } = await readSafetensorsHeader(file);
    await truncate(file, 100);
    await expect(readTensorBytes(entries.get('w')!)).rejects.toThrow(/field "w".*truncated/);
    await rm(file);
    await expect(readTensorBytes(entries.get('w')!)).rejects.toThrow(/w\.safetensors: The file is missing/);
    await expect(readSafetensorsHeader(folder.path)).rejects.toThrow(ModelError);
  });
});

describe('hasNonFinite', () => {
  it('agrees with the values of every bit pattern', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(0xffff_ffff), { maxLength: 5 }), words => {
        const data = Uint32Array.from(words);
        const values = new Float32Array(data.buffer);
        const expected = !values.every(Number.isFinite);
        const bytes = new Uint8Array(data.buffer);
        const shifted = new Uint8Array(bytes.length + 1);
        shifted.set(bytes, 1);
        expect(hasNonFinite(bytes, 'F32')).toBe(expected);
        expect(hasNonFinite(shifted.subarray(1), 'F32')).toBe(expected);
      }),
    );
  });

  it.each([
    ['F32', 0x7f80_0000, true],
    ['F32', 0xff80_0000, true],
    ['F32', 0x7fc0_0000, true],
    ['F32', 0x7f7f_ffff, false],
    ['F16', 0x7c00, true],
    ['F16', 0xfe00, true],
    ['F16', 0x7bff, false],
    ['BF16', 0xff80, true],
    ['BF16', 0x7fc1, true],
    ['BF16', 0x7f7f, false],
    ['I32', 0x7f80_0000, false],
  ] as const)('%s %i: %s', (dtype, bits, expected) => {
    const words = dtype.endsWith('32') ? Uint32Array.of(0, bits) : Uint16Array.of(0, bits);
    expect(hasNonFinite(new Uint8Array(words.buffer), dtype)).toBe(expected);
  });
});

const sharded = [tensor('a', 1, 2), tensor('b', 3, 4, 5), tensor('c', 6), tensor('d', 7)];

describe('the weights of a model', () => {
  it('are one file while they fit', async () => {
    await using folder = await temporaryFolder();
    await writeModelWeights(folder.path, sharded, { maxShardBytes: 28 });
    expect(await readdir(folder.path)).toEqual(['model.safetensors']);
    expect([...(await openWeights(folder.path)).keys()]).toEqual(['a', 'b', 'c', 'd']);
  });

  it('are shards with an index beyond that, and a tensor too large gets its own', async () => {
    await using folder = await temporaryFolder();
    await writeModelWeights(folder.path, sharded, { maxShardBytes: 8 });
    const names = [1, 2, 3].map(number => `model-0000${number}-of-00003.safetensors`);
    expect((await readdir(folder.path)).sort()).toEqual([...names, 'model.safetensors.index.json']);
    expect(JSON.parse(await readFile(join(folder.path, 'model.safetensors.index.json'), 'utf8'))).toEqual({
      metadata: { total_size: 28 },
      weight_map: { a: names[0], b: names[1], c: names[2], d: names[2] },
    });
    const weights = await openWeights(folder.path);
    for (const { name, bytes } of sharded) {
      expect(Buffer.compare(await readTensorBytes(weights.get(name)!), bytes())).toBe(0);
    }
  });

  it('replace older ones of another number of files', async () => {
    await using folder = await temporaryFolder();
    for (const maxShardBytes of [8, 100, 20]) {
      await writeModelWeights(folder.path, sharded, { maxShardBytes });
      const names = await readdir(folder.path);
      expect(names.includes('model.safetensors')).toBe(maxShardBytes === 100);
      expect(names).toHaveLength({ 8: 4, 100: 1, 20: 3 }[maxShardBytes]!);
      expect((await openWeights(folder.path)).size).toBe(4);
    }
  });

  it.each([
    [
      'no weights at all',
      {},
      /neither model\.safetensors nor model\.safetensors\.index\.json.*pytorch_model\.bin/,
    ],
    ['an index that is not JSON', { index: '{' }, /index\.json: The file is not valid JSON/],
    ['an index without weight_map', { index: '{}' }, /index\.json: .*weight_map/],
    [
      'a shard outside the folder',
      { index: '{"weight_map": {"a": "../x.safetensors"}}' },
      /index\.json, field "a": "\.\.\/x\.safetensors"/,
    ],
    [
      'a missing shard',
      { index: '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}' },
      /model-2\.safetensors: The file is missing/,
    ],
    [
      'a tensor that its shard lacks',
      { index: '{"weight_map": {"z": "model-1.safetensors"}}' },
      /model-1\.safetensors, field "z": .*index\.json says that it is here/,
    ],
  ])('with %s are refused', async (_, { index }: { index?: string }, says) => {
    await using folder = await temporaryFolder();
    const model = join(folder.path, 'model');
    await mkdir(model);
    if (index !== undefined) {
      await writeFile(join(model, 'model.safetensors.index.json'), index);
      await writeSafetensors(join(model, 'model-1.safetensors'), [tensor('a', 1)]);
    }
    const error = await openWeights(model).catch(error => error);
    expect(error).toBeInstanceOf(ModelError);
    expect(error.message).toMatch(says);
  });
});
