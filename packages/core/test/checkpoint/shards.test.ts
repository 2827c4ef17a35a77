/** Sharded checkpoints: what was saved by any number of ranks can be read, resumed and consolidated by any other. */
import {
  appendFile,
  copyFile,
  cp,
  mkdir,
  readdir,
  readFile,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { SOLO } from '@sralign/native';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { writeChecksums } from '../../src/checkpoint/checksums.js';
import { NotFiniteError } from '../../src/hf/safetensors-writer.js';
import {
  CheckpointError,
  consolidate,
  loadModel,
  ModelError,
  readCompanions,
  saveModel,
} from '../../src/index.js';
import { openCheckpoint, type SavedTensors } from '../../src/shard/saved-tensors.js';
import { flatTensors, type ShardsFile } from '../../src/shard/shards-file.js';
import { viewOf } from '../../src/shard/unit.js';
import { readTrainerState } from '../../src/train/state.js';
import { referenceCases, temporaryFolder } from '../support.js';
import { aloneAs, contents, followers, resumeOn, STATE, save, startedRun } from './ranks.js';

const ARCHITECTURES = await readdir(referenceCases);
const modelOf = (architecture: string): string => join(referenceCases, architecture, 'model');
const WORLD_SIZES = [1, 2, 3, 4];
const worldFolder = (root: string, worldSize: number): string => join(root, `world-${worldSize}`);

/** A checkpoint of one process and the same of 2, 3 and 4 ranks, none of which needs another while it saves. */
async function writeCheckpoints(root: string, architecture: string, dtype: 'f32' | 'bf16'): Promise<void> {
  const model = modelOf(architecture);
  using run = await startedRun(model, { dtype });
  for (const worldSize of WORLD_SIZES) await mkdir(worldFolder(root, worldSize));
  await save(worldFolder(root, 1), run, model);
  for (const worldSize of WORLD_SIZES.slice(1)) {
    await resumeOn(worldSize, worldFolder(root, 1), dtype, async state => {
      Object.assign(state.model.units, {
        communicator: aloneAs(state.model.units.communicator.rank, worldSize),
      });
      await save(worldFolder(root, worldSize), state, model);
    });
  }
}

async function tensorsOf(checkpoint: string): Promise<SavedTensors> {
  const saved = await openCheckpoint(checkpoint, SOLO);
  return new Map([...(await saved.weights()), ...(await saved.moments())]);
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((size, length) => size * length, 1);

describe.each(ARCHITECTURES.flatMap(name => [[name, 'f32'] as const, [name, 'bf16'] as const]))(
  'checkpoints of %s, %s',
  (architecture, dtype) => {
    it('hold the same tensors, whole or sharded: any part of any', async () => {
      await using folder = await temporaryFolder();
      await writeCheckpoints(folder.path, architecture, dtype);
      const whole = await tensorsOf(worldFolder(folder.path, 1));
      const sharded = await Promise.all(
        WORLD_SIZES.slice(1).map(worldSize => tensorsOf(worldFolder(folder.path, worldSize))),
      );
      for (const tensors of sharded) expect([...tensors.keys()].sort()).toEqual([...whole.keys()].sort());
      const bytes = new Map<string, Uint8Array>();
      for (const [name, tensor] of whole) bytes.set(name, await tensor.read(0, sizeOf(tensor.shape)));
      const part = fc
        .constantFrom(...whole.values())
        .chain(tensor =>
          fc.tuple(fc.constant(tensor), fc.nat(sizeOf(tensor.shape)), fc.nat(sizeOf(tensor.shape))),
        );
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...sharded), part, async (tensors, [{ name, shape }, a, b]) => {
          const saved = tensors.get(name)!;
          expect(saved).toMatchObject({ dtype: 'F32', shape });
          const [start, end] = [Math.min(a, b), Math.max(a, b)];
          const expected = bytes.get(name)!.subarray(4 * start, 4 * end);
          expect(Buffer.compare(await saved.read(start, end), expected)).toBe(0);
        }),
        { numRuns: 60 },
      );
      for (const tensors of sharded) {
        for (const [name, { shape, read }] of tensors) {
          expect(Buffer.compare(await read(0, sizeOf(shape)), bytes.get(name)!)).toBe(0);
        }
      }
    });

    it('consolidate to the bytes of the model folder that one process saves', async () => {
      await using folder = await temporaryFolder();
      await writeCheckpoints(folder.path, architecture, dtype);
      const expected = join(folder.path, 'expected');
      const model = await loadModel(modelOf(architecture), { dtype });
      await saveModel(model, expected, await readCompanions(modelOf(architecture)));
      model.dispose();
      for (const worldSize of WORLD_SIZES.slice(1)) {
        const out = join(folder.path, 'out', String(worldSize));
        await consolidate(worldFolder(folder.path, worldSize), out);
        expect(await contents(out)).toEqual(await contents(expected));
      }
    });
  },
);

describe('a checkpoint of N ranks', () => {
  it.each(['llama_gqa', 'gpt_neox'])(
    'resumed on M ranks saves the checkpoint of M ranks (%s)',
    async architecture => {
      await using folder = await temporaryFolder();
      await writeCheckpoints(folder.path, architecture, 'f32');
      for (const from of WORLD_SIZES) {
        for (const to of WORLD_SIZES) {
          const again = join(folder.path, `${from}-to-${to}`);
          await mkdir(again);
          await resumeOn(to, worldFolder(folder.path, from), 'f32', async state => {
            expect(state.optimizer.steps).toBe(7);
            await save(again, state, modelOf(architecture));
          });
          expect(await contents(again)).toEqual(await contents(worldFolder(folder.path, to)));
        }
      }
      expect(await readTrainerState(worldFolder(folder.path, 3))).toEqual(STATE);
    },
  );

  it('is resumed in the other compute type, and by ranks that each have everything', async () => {
    await using folder = await temporaryFolder();
    await writeCheckpoints(folder.path, 'llama_tied', 'bf16');
    const sharded = worldFolder(folder.path, 3);
    const expected = await tensorsOf(worldFolder(folder.path, 1));
    const loadings = [
      ['full', 'f32', 2],
      ['none', 'bf16', 2],
    ] as const;
    for (const [sharding, dtype, worldSize] of loadings) {
      const again = join(folder.path, `${sharding}-${dtype}`);
      await mkdir(again);
      await resumeOn(worldSize, sharded, dtype, state => save(again, state, modelOf('llama_tied')), sharding);
      const tensors = await tensorsOf(again);
      expect(tensors.size).toBe(expected.size);
      for (const [name, { shape, read }] of tensors) {
        const size = sizeOf(shape);
        expect(Buffer.compare(await read(0, size), await expected.get(name)!.read(0, size))).toBe(0);
      }
      const whole = sharding === 'none';
      expect((await readdir(again)).includes('optimizer.safetensors')).toBe(whole);
    }
  });

  it('has the values that the model and the optimizer had, under the names of the model', async () => {
    await using folder = await temporaryFolder();
    const model = modelOf('llama_gqa');
    using run = await startedRun(model, {});
    await save(folder.path, run, model);
    const tensors = await tensorsOf(folder.path);
    let compared = 0;
    for (const { name: moment, flat, tensor } of run.optimizer.moments) {
      for (const entry of flat.layout.entries) {
        using view = viewOf(tensor, entry);
        for (const { name, start, end } of entry.parameter.sources) {
          using rows = view.rows(start, end);
          const saved = tensors.get(`${moment}.${name}`)!;
          expect(saved.shape).toEqual(rows.shape);
          expect(Buffer.compare(await saved.read(0, rows.size), rows.readBytes())).toBe(0);
          compared++;
        }
      }
    }
    const weights = [...tensors.keys()].filter(name => !name.includes('_moment.'));
    expect(compared).toBe(2 * weights.length);
    expect(weights).toContain('model.layers.1.self_attn.k_proj.weight');
  });

  it('needs of a rank only its own shard, as long as their number is the same', async () => {
    await using folder = await temporaryFolder();
    await writeCheckpoints(folder.path, 'llama_gqa', 'f32');
    const shards = worldFolder(folder.path, 3);
    // Three hosts without a shared file system: the first alone has the small files.
    const hosts = [0, 1, 2].map(rank => join(folder.path, `host-${rank}`));
    for (const [rank, host] of hosts.entries()) {
      const own = `shard-0000${rank}-of-00003.safetensors`;
      const names = rank === 0 ? ['config.json', 'shards.json', 'trainer-state.json', own] : [own];
      for (const name of names) await cp(join(shards, name), join(host, name));
    }
    for (const [rank, communicator] of followers(3).entries()) {
      const model = await loadModel(hosts[rank]!, { sharding: { communicator, sharding: 'full' } });
      expect(model.units.flats.some(flat => flat.value.toFloat32Array().some(value => value !== 0))).toBe(
        true,
      );
      model.dispose();
    }
    const missing = loadModel(hosts[0]!);
    await expect(missing).rejects.toThrow(CheckpointError);
    await expect(missing).rejects.toThrow(/shard-00001-of-00003.*rank 1 of 3 is missing.*all hosts/s);
  });
});

describe('a shard with a value that is not finite', () => {
  it.each(['model.layers.1.self_attn.v_proj.weight', 'first_moment.model.layers.0.mlp.up_proj.weight'])(
    'is not written, and %s is named as the model names it',
    async name => {
      await using folder = await temporaryFolder();
      await writeCheckpoints(folder.path, 'llama_gqa', 'f32');
      const errors: unknown[] = [];
      await resumeOn(2, worldFolder(folder.path, 2), 'f32', async state => {
        const { flats, communicator } = state.model.units;
        const parts = [
          ...flats.map(flat => ({ prefix: '', flat, tensor: flat.value })),
          ...state.optimizer.moments.map(({ name: moment, flat, tensor }) => ({
            prefix: `${moment}.`,
            flat,
            tensor,
          })),
        ];
        for (const { prefix, flat, tensor } of parts) {
          const found = flatTensors(flat.layout).find(stored => prefix + stored.name === name);
          const part = found && flat.overlap(found.offset, found.offset + sizeOf(found.shape));
          const bytes = new Uint8Array(Float32Array.of(Number.NaN).buffer);
          if (part) tensor.write(bytes, 'f32', part.end - 1 - flat.start);
        }
        const again = join(folder.path, `again-${communicator.rank}`);
        await mkdir(again);
        errors.push(await save(again, state, modelOf('llama_gqa')).catch(error => error));
        if (errors.at(-1) instanceof Error) expect(await readdir(again)).toEqual([]);
      });
      const failed = errors.filter(error => error !== undefined);
      expect(failed.length).toBeGreaterThan(0);
      for (const error of failed) {
        expect(error).toBeInstanceOf(NotFiniteError);
        expect((error as Error).message).toBe(`The tensor "${name}" holds NaN or infinite values.`);
      }
    },
  );
});

describe('a damaged sharded checkpoint', () => {
  async function damagedBy(
    damage: (folder: string) => Promise<void>,
  ): Promise<[load: unknown, merge: unknown]> {
    await using folder = await temporaryFolder();
    await writeCheckpoints(folder.path, 'llama_gqa', 'f32');
    const checkpoint = worldFolder(folder.path, 2);
    await damage(checkpoint);
    const out = join(folder.path, 'out');
    const errors = await Promise.all([
      loadModel(checkpoint).then(
        model => model.dispose(),
        error => error,
      ),
      consolidate(checkpoint, out).catch(error => error),
    ]);
    expect((await readdir(folder.path)).filter(name => !name.startsWith('world-'))).toEqual([]);
    return errors as [unknown, unknown];
  }

  const second = 'shard-00001-of-00002.safetensors';
  const edit = (change: (file: ShardsFile) => unknown) => async (folder: string) => {
    const file = join(folder, 'shards.json');
    await writeFile(file, JSON.stringify(change(JSON.parse(await readFile(file, 'utf8')))));
  };

  it.each([
    [
      'a shard is missing',
      (folder: string) => rm(join(folder, second)),
      /shard-00001-of-00002.*rank 1 of 2 is missing/s,
    ],
    [
      'a shard is torn',
      (folder: string) => truncate(join(folder, second), 5000),
      /rank 1 cannot be read.*truncated/s,
    ],
    [
      'a shard is empty',
      (folder: string) => truncate(join(folder, second), 0),
      /rank 1 cannot be read.*0 bytes/s,
    ],
    [
      'a shard has too much',
      (folder: string) => appendFile(join(folder, second), 'x'),
      /rank 1 cannot be read/,
    ],
    [
      'a shard is that of another rank',
      (folder: string) => copyFile(join(folder, 'shard-00000-of-00002.safetensors'), join(folder, second)),
      /shard-00001-of-00002.*shard of rank 1, but says that it is that of rank 0/s,
    ],
    [
      'its shards are of another step',
      edit(file => ({ ...file, step: file.step + 1 })),
      /shard-0000[01]-of-00002.*shard of step \d+, but says that it is that of step \d+/s,
    ],
    [
      'shards.json is torn',
      (folder: string) => truncate(join(folder, 'shards.json'), 99),
      /shards\.json.*not valid JSON/s,
    ],
    [
      'shards.json is of more ranks',
      edit(file => ({ ...file, worldSize: 4 })),
      /shard-00000-of-00004.*rank 0 of 4 is missing/s,
    ],
    [
      'shards.json is of a number of ranks that cannot be',
      edit(file => ({ ...file, worldSize: 7 })),
      /shards\.json.*cannot be shared by 7 ranks/s,
    ],
    [
      'shards.json is of more ranks than a job can have',
      edit(file => ({ ...file, worldSize: 1e8, flats: { all: 1e8 }, tensors: [] })),
      /shards\.json.*worldSize/s,
    ],
    [
      'shards.json has another size',
      edit(({ flats, ...file }) => ({
        ...file,
        flats: Object.fromEntries(Object.entries(flats).map(([name, size]) => [name, 2 * size])),
      })),
      /shard-0000[01]-of-00002.*rank [01] has F32.*shards\.json says/s,
    ],
    [
      'shards.json has a flat that no shard has',
      edit(({ flats, tensors, ...file }) => ({
        ...file,
        flats: { ...flats, other: 1e6 },
        tensors: tensors.map(tensor => ({ ...tensor, flat: 'other' })),
      })),
      /other.*rank [01] does not have this tensor/s,
    ],
    [
      'a tensor lies outside of its flat',
      edit(({ tensors, ...file }) => ({
        ...file,
        tensors: tensors.map(tensor => ({ ...tensor, offset: tensor.offset + 1e6 })),
      })),
      /shards\.json.*embed_tokens.*does not lie in/s,
    ],
    ['shards.json is something else', edit(() => ({ worldSize: 'two' })), /shards\.json.*worldSize/s],
  ])('is refused when %s', async (_, damage, message) => {
    for (const error of await damagedBy(damage)) {
      expect(error).toBeInstanceOf(CheckpointError);
      expect((error as Error).message).toMatch(message);
    }
  });

  it('is refused when it holds NaN', async () => {
    const errors = await damagedBy(async folder => {
      const file = join(folder, second);
      const bytes = await readFile(file);
      const start = 8 + Number(bytes.readBigUInt64LE());
      await writeFile(
        file,
        Buffer.concat([bytes.subarray(0, start), Buffer.alloc(bytes.length - start, 0xff)]),
      );
    });
    for (const error of errors) {
      expect(error).toBeInstanceOf(ModelError);
      expect((error as Error).message).toMatch(/weight.*NaN/s);
    }
  });
});

describe('consolidate', () => {
  it('refuses a checkpoint whose bytes are not those that were written', async () => {
    await using folder = await temporaryFolder();
    await writeCheckpoints(folder.path, 'gpt_neox', 'f32');
    const checkpoint = worldFolder(folder.path, 2);
    await writeChecksums(checkpoint, {}, SOLO);
    const file = join(checkpoint, 'shard-00001-of-00002.safetensors');
    const bytes = await readFile(file);
    bytes[bytes.length - 70]! ^= 1;
    await writeFile(file, bytes);
    const merging = consolidate(checkpoint, join(folder.path, 'out'));
    await expect(merging).rejects.toThrow(/shard-00001-of-00002\.safetensors: This file .* is damaged/);
  });

  it('refuses what is a model folder already, what is no checkpoint, and an output that is there', async () => {
    await using folder = await temporaryFolder();
    const out = join(folder.path, 'out');
    const refused = async (checkpoint: string, message: RegExp): Promise<void> => {
      const merging = consolidate(checkpoint, out);
      await expect(merging).rejects.toThrow(CheckpointError);
      await expect(merging).rejects.toThrow(message);
    };
    await refused(modelOf('gpt_neox'), /model: It is a Hugging Face folder already\. Copy it\./);
    await refused(join(folder.path, 'nowhere'), /nowhere: It is no sharded checkpoint.*RUN@100/);
    await writeCheckpoints(folder.path, 'gpt_neox', 'f32');
    await writeFile(out, '');
    await refused(worldFolder(folder.path, 2), /out: The output folder exists already/);
    await rm(out);
    await mkdir(out);
    await refused(worldFolder(folder.path, 2), /out: The output folder exists already/);
    await rm(out, { recursive: true });
    await consolidate(worldFolder(folder.path, 2), out);
    expect(await readdir(out)).toContain('model.safetensors');
  });
});
