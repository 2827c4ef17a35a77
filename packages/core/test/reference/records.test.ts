/** The file of the reference cache: shared by processes, torn, damaged, on a disk that takes only part of a write. */
import { spawn } from 'node:child_process';
import type * as fs from 'node:fs';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CheckpointError, RunError } from '../../src/errors.js';
import { type AnswerLogps, RecordsFile } from '../../src/reference/records.js';
import { writeProgram } from '../checkpoint/program.js';
import { temporaryFolder } from '../support.js';

const disk = vi.hoisted(() => ({ mostBytes: Number.POSITIVE_INFINITY, fullAfter: Number.POSITIVE_INFINITY }));
vi.mock('node:fs', async original => {
  const actual = await original<typeof fs>();
  return {
    ...actual,
    writeSync: (descriptor: number, bytes: Uint8Array): number => {
      if (disk.fullAfter-- <= 0) throw Object.assign(new Error('full'), { code: 'ENOSPC', syscall: 'write' });
      return actual.writeSync(descriptor, bytes.subarray(0, disk.mostBytes));
    },
  };
});
afterEach(() =>
  Object.assign(disk, { mostBytes: Number.POSITIVE_INFINITY, fullAfter: Number.POSITIVE_INFINITY }),
);

type Entries = [string, AnswerLogps][];

const RECORDS: Entries = [
  ['a', { chosen: -1.25, rejected: -2.5e-7 }],
  ['b', { chosen: -0.1, rejected: 0 }],
  ['c', { chosen: -123456.789, rejected: -3 }],
];

function readAll(file: string, modelKey = 'model'): { records: Entries; damaged: number } {
  const reader = new RecordsFile(file, modelKey);
  const records: Entries = [];
  reader.readNew((pair, entry) => void records.push([pair, entry]));
  return { records, damaged: reader.damaged };
}

describe('RecordsFile', () => {
  it('gives back what was added, to each reader once, in the order of the file', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'deep', 'x.jsonl');
    const [one, two] = [new RecordsFile(file, 'model'), new RecordsFile(file, 'model')];
    one.append(RECORDS.slice(0, 1));
    two.append(RECORDS.slice(1, 2));
    one.append([]);
    one.append(RECORDS.slice(2));
    const seen: Entries = [];
    two.readNew((...record) => void seen.push(record));
    two.readNew((...record) => void seen.push(record));
    expect(seen).toEqual(RECORDS);
    expect(readAll(file)).toEqual({ records: RECORDS, damaged: 0 });
  });

  it('leaves out records of another model', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'x.jsonl');
    new RecordsFile(file, 'model').append(RECORDS);
    expect(readAll(file, 'other')).toEqual({ records: [], damaged: 3 });
  });

  it('leaves out every line in which any byte has changed, and no other', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'x.jsonl');
    new RecordsFile(file, 'model').append(RECORDS);
    const bytes = await readFile(file);
    for (let position = 1; position < bytes.length - 1; position++) {
      for (const bit of [1, 128]) {
        const changed = Buffer.from(bytes);
        changed[position]! ^= bit;
        await writeFile(file, changed);
        const { records, damaged } = readAll(file);
        for (const record of records) expect(RECORDS).toContainEqual(record);
        // A line end that has gone takes two lines with it, one that has come takes one.
        expect(records.length).toBe(bytes[position] === 0x0a ? 1 : 2);
        expect(damaged).toBeGreaterThan(0);
      }
    }
  });

  it.each(['null', '{}', '[]', '3', '{"pair":"a"}', '\0\0\0', 'x'.repeat(5_000_000), '{"pair":"torn'])(
    'passes over a line of %.20j',
    async line => {
      await using folder = await temporaryFolder();
      const file = join(folder.path, 'x.jsonl');
      const records = new RecordsFile(file, 'model');
      records.append(RECORDS.slice(0, 2));
      await appendFile(file, line);
      expect(readAll(file).records).toEqual(RECORDS.slice(0, 2));
      records.append(RECORDS.slice(2));
      expect(readAll(file)).toEqual({ records: RECORDS, damaged: 1 });
    },
  );

  it('completes a write of which the disk takes a part at a time', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'x.jsonl');
    disk.mostBytes = 7;
    new RecordsFile(file, 'model').append(RECORDS);
    expect(readAll(file)).toEqual({ records: RECORDS, damaged: 0 });
  });

  it('fails when the disk is full, and goes on behind what was written by then', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'x.jsonl');
    Object.assign(disk, { mostBytes: 30, fullAfter: 2 });
    const records = new RecordsFile(file, 'model');
    expect(() => records.append(RECORDS)).toThrow(RunError);
    Object.assign(disk, { mostBytes: Number.POSITIVE_INFINITY, fullAfter: Number.POSITIVE_INFINITY });
    records.append(RECORDS);
    expect(readAll(file)).toEqual({ records: RECORDS, damaged: 1 });
  });

  it('names a file that cannot be read', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'x.jsonl');
    await mkdir(file);
    expect(() => readAll(file)).toThrow(CheckpointError);
    expect(() => readAll(file)).toThrow(/x\.jsonl: The reference cache cannot be read \(EISDIR/);
  });

  it('is shared by processes that open it first at the same time: no record is lost or torn', async () => {
    await using folder = await temporaryFolder();
    const program = await writeProgram(
      folder.path,
      `import { RecordsFile } from './reference/records.js';
       const [file, own] = process.argv.slice(2);
       const records = new RecordsFile(file, 'model');
       for (let batch = 0; batch < 40; batch++) {
         records.append(Array.from({ length: 5 }, (_, i) => [own + '-' + batch + '-' + i, { chosen: -batch, rejected: -i }]));
       }`,
    );
    const file = join(folder.path, 'cache', 'x.jsonl');
    const codes = await Promise.all(
      Array.from(
        { length: 6 },
        (_, own) =>
          new Promise(settle =>
            spawn(process.execPath, [program, file, String(own)], { stdio: 'inherit' }).on('exit', settle),
          ),
      ),
    );
    expect(codes).toEqual([0, 0, 0, 0, 0, 0]);
    const { records, damaged } = readAll(file);
    expect(damaged).toBe(0);
    expect(new Set(records.map(([pair]) => pair)).size).toBe(6 * 40 * 5);
  });
});
