/**
 * The file of a reference cache: one line a record, each with a checksum, so that any number of processes may share it.
 * A line is added by one write at the end of the file, and never changed. Whatever a reader cannot believe (a line that a
 * killed process left unfinished, damage, a record of another model) it leaves out, and who needs it computes it again. Of
 * two records of a pair the first counts, for all readers and at all times.
 */
import { hash } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { CheckpointError } from '../errors.js';
import { diskError, systemErrorCode } from '../files.js';

/** log pi_ref of the two answers. */
export interface AnswerLogps {
  readonly chosen: number;
  readonly rejected: number;
}

const READ_BYTES = 2 ** 16;
const NEWLINE = 0x0a;
/** No record is longer; what is longer is damage, and is not kept in memory. */
const MAX_LINE_BYTES = 1024;

export class RecordsFile {
  /** Bytes read so far: whole lines. */
  private position = 0;
  /** Lines that were left out. */
  damaged = 0;

  /** @param modelKey identity of the model, which every checksum covers */
  constructor(
    readonly file: string,
    private readonly modelKey: string,
  ) {}

  /**
   * Hands over the records that were added since the last call.
   *
   * @throws CheckpointError when the file is there and cannot be read
   */
  readNew(onRecord: (pair: string, entry: AnswerLogps) => void): void {
    try {
      const descriptor = openSync(this.file, 'r');
      try {
        this.readFrom(descriptor, onRecord);
      } finally {
        closeSync(descriptor);
      }
    } catch (cause) {
      const code = systemErrorCode(cause);
      if (code === 'ENOENT') return;
      if (code === undefined) throw cause;
      throw new CheckpointError(`The reference cache cannot be read (${(cause as Error).message}).`, {
        file: this.file,
        hint: 'Choose another reference.cacheFolder.',
        cause,
      });
    }
  }

  private readFrom(descriptor: number, onRecord: (pair: string, entry: AnswerLogps) => void): void {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    for (let kept = 0; ; ) {
      const bytesRead = readSync(descriptor, buffer, kept, buffer.length - kept, this.position + kept);
      if (bytesRead === 0) return;
      const bytes = buffer.subarray(0, kept + bytesRead);
      let start = 0;
      for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, start)) {
        this.readLine(bytes.subarray(start, at), onRecord);
        start = at + 1;
      }
      kept = bytes.length - start;
      this.position += start;
      if (kept > MAX_LINE_BYTES) {
        // Zeros that a power cut left, for instance: its end is what is looked for.
        this.position += kept;
        kept = 0;
      } else {
        buffer.copyWithin(0, start, bytes.length);
      }
    }
  }

  private readLine(bytes: Buffer, onRecord: (pair: string, entry: AnswerLogps) => void): void {
    if (bytes.length === 0) return;
    const record = this.parse(bytes.toString('latin1'));
    if (record === null) this.damaged++;
    else onRecord(record.pair, { chosen: record.chosen, rejected: record.rejected });
  }

  /** Exactly what `render` writes, or null. */
  private parse(line: string): { pair: string; chosen: number; rejected: number } | null {
    try {
      const { pair, chosen, rejected } = JSON.parse(line);
      return this.render(pair, { chosen, rejected }) === line ? { pair, chosen, rejected } : null;
    } catch {
      return null;
    }
  }

  private render(pair: string, { chosen, rejected }: AnswerLogps): string {
    const sum = hash('sha256', `${this.modelKey} ${pair} ${chosen} ${rejected}`, 'base64url');
    return JSON.stringify({ pair, chosen, rejected, sum: sum.slice(0, 12) });
  }

  /**
   * Adds records and waits until the disk has them.
   *
   * @throws RunError when the disk refuses
   */
  append(records: readonly (readonly [pair: string, entry: AnswerLogps])[]): void {
    if (records.length === 0) return;
    const lines = records.map(([pair, entry]) => this.render(pair, entry));
    // Begins on a line of its own, whatever a killed process left in front.
    let rest: Buffer = Buffer.from(`\n${lines.join('\n')}\n`);
    try {
      mkdirSync(dirname(this.file), { recursive: true });
      const descriptor = openSync(this.file, 'a');
      try {
        while (rest.length > 0) rest = rest.subarray(writeSync(descriptor, rest));
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
    } catch (error) {
      throw diskError(error, this.file);
    }
  }
}
