import { readdir, readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../src/metrics/crc32c.js';
import { TensorboardWriter, tagOf } from '../../src/metrics/tensorboard.js';
import { temporaryFolder } from '../support.js';

/** The checksum bit by bit, as its definition says. */
function slowCrc32c(data: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
  }
  return (crc ^ 0xffff_ffff) >>> 0;
}

const masked = (data: Uint8Array): number => {
  const crc = BigInt(slowCrc32c(data));
  return Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffff_ffffn);
};

/** Splits a file into the data of its records, checking their frames. */
function readRecords(file: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(masked(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(masked(data));
    records.push(data);
    at += 16 + length;
  }
  return records;
}

type Field = { number: number; value: bigint | Buffer };

/** Any protocol buffer message as its fields. */
function readFields(message: Buffer): Field[] {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  const take = (length: number): Buffer => {
    at += length;
    return message.subarray(at - length, at);
  };
  const fields: Field[] = [];
  while (at < message.length) {
    const key = Number(varint());
    const read: Record<number, () => bigint | Buffer> = {
      0: varint,
      1: () => take(8),
      2: () => take(Number(varint())),
      5: () => take(4),
    };
    fields.push({ number: key >> 3, value: read[key & 7]!() });
  }
  return fields;
}

const field = (fields: Field[], number: number): never =>
  fields.find(field => field.number === number)?.value as never;

interface Event {
  wallTime: number;
  step: number | undefined;
  version: string | undefined;
  isStart: boolean;
  scalars: Record<string, number>;
}

function readEvent(message: Buffer): Event {
  const fields = readFields(message);
  const [step, version, summary, session] = [2, 3, 5, 7].map(number => field(fields, number) as unknown);
  const values =
    summary === undefined
      ? []
      : readFields(summary as Buffer).map(({ value }) => readFields(value as Buffer));
  return {
    wallTime: (field(fields, 1) as Buffer).readDoubleLE(),
    step: step === undefined ? undefined : Number(step),
    version: version?.toString(),
    isStart: session !== undefined && field(readFields(session as Buffer), 1) === 1n,
    scalars: Object.fromEntries(
      values.map(value => [
        (field(value, 1) as Buffer).toString(),
        (field(value, 2) as Buffer).readFloatLE(),
      ]),
    ),
  };
}

describe('crc32c', () => {
  it.each([
    // RFC 3720, appendix B.4.
    [Buffer.alloc(32), 0x8a91_36aa],
    [Buffer.alloc(32, 0xff), 0x62a8_ab43],
    [Buffer.from([...Array(32).keys()]), 0x46dd_794e],
    [Buffer.from('123456789'), 0xe306_9283],
    [Buffer.alloc(0), 0],
  ])('of a known vector', (data, expected) => {
    expect(crc32c(data)).toBe(expected);
  });

  it('equals its definition', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 99 }), data => {
        expect(crc32c(data)).toBe(slowCrc32c(data));
      }),
    );
  });
});

describe('TensorBoard events', () => {
  it('begin with the bytes that every event file begins with', async () => {
    await using folder = await temporaryFolder();
    const { file } = new TensorboardWriter(folder.path, 1_600_000_000.5);
    const bytes = await readFile(file);
    // Length 24, its masked checksum as in the files of TensorFlow, then wall_time and file_version.
    expect(bytes.subarray(0, 13).toString('latin1')).toBe('\x18\0\0\0\0\0\0\0\xa3\x7fK"\x09');
    const wallTime = Buffer.alloc(8);
    wallTime.writeDoubleLE(1_600_000_000.5);
    expect(bytes.subarray(13, 21)).toEqual(wallTime);
    expect(bytes.subarray(21, 36).toString('latin1')).toBe('\x1a\x0dbrain.Event:2');
    expect(bytes).toHaveLength(40);
  });

  it('are in a file whose name TensorBoard looks for', async () => {
    await using folder = await temporaryFolder();
    const runs = join(folder.path, 'deep', 'runs');
    new TensorboardWriter(runs, 1_600_000_000.5);
    expect(await readdir(runs)).toEqual([`events.out.tfevents.1600000000.${hostname()}.${process.pid}`]);
  });

  it('hold the scalars that were written, in single precision', async () => {
    await using folder = await temporaryFolder();
    const scalars = fc.dictionary(fc.string({ minLength: 1 }), fc.double(), { maxKeys: 4 });
    const step = fc.oneof(fc.nat(), fc.maxSafeNat());
    let run = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(step, scalars, fc.double({ noNaN: true })), { minLength: 1, maxLength: 4 }),
        async writes => {
          const writer = new TensorboardWriter(join(folder.path, String(run++)), 5);
          for (const [step, scalars, wallSeconds] of writes) writer.write(step, scalars, wallSeconds);
          const [version, start, ...events] = readRecords(await readFile(writer.file)).map(readEvent);
          expect(version).toMatchObject({ wallTime: 5, version: 'brain.Event:2' });
          expect(start).toMatchObject({ step: writes[0]![0], isStart: true });
          expect(events).toHaveLength(writes.length);
          for (const [i, [step, scalars, wallSeconds]] of writes.entries()) {
            const rounded = Object.entries(scalars).map(([name, value]) => [tagOf(name), Math.fround(value)]);
            expect(events[i]).toMatchObject({ step, wallTime: wallSeconds, isStart: false });
            expect(events[i]!.scalars).toEqual(Object.fromEntries(rounded));
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  it('put training and evaluation of a metric into one group', () => {
    const tags = ['loss', 'eval_loss', 'rewards/accuracies', 'eval_rewards/accuracies'].map(tagOf);
    expect(tags).toEqual(['loss/train', 'loss/eval', 'rewards/accuracies/train', 'rewards/accuracies/eval']);
  });

  it('tell TensorBoard from which step a resumed run replaces an earlier one', async () => {
    await using folder = await temporaryFolder();
    const first = new TensorboardWriter(folder.path, 1);
    first.write(1, { loss: 1 });
    const resumed = new TensorboardWriter(folder.path, 2);
    resumed.write(4, { loss: 2 });
    resumed.write(5, { loss: 3 });
    const events = readRecords(await readFile(resumed.file)).map(readEvent);
    expect(events.map(({ step, isStart }) => [step, isStart])).toEqual([
      [undefined, false],
      [4, true],
      [4, false],
      [5, false],
    ]);
  });
});
