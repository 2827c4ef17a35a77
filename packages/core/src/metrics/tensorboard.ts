/**
 * TensorBoard event files: TFRecords, each holding one protocol buffer `Event`.
 *
 *   TFRecord   length (u64), masked CRC-32C of the length, data, masked CRC-32C of the data
 *   Event      wall_time = 1 (double), step = 2 (int64), and one of
 *              file_version = 3 (string), summary = 5, session_log = 7
 *   Summary    value = 1, repeated: tag = 1 (string), simple_value = 2 (float)
 *   SessionLog status = 1 (1: a start)
 *
 * Source: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto, framework/summary.proto
 */
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { appendToFile } from '../files.js';
import { crc32c } from './crc32c.js';

export class TensorboardWriter {
  readonly file: string;
  private started = false;

  /**
   * Starts a new event file in `folder`, which is created if missing; TensorBoard reads all files of a folder together, and calls
   * what they say by the name of the folder.
   */
  constructor(folder: string, startSeconds = Date.now() / 1000) {
    mkdirSync(folder, { recursive: true });
    this.file = join(folder, `events.out.tfevents.${Math.floor(startSeconds)}.${hostname()}.${process.pid}`);
    this.append([double(1, startSeconds), bytes(3, Buffer.from('brain.Event:2'))]);
  }

  /** Writes one value per metric, under `tagOf` its name, in single precision; NaN and infinities are shown as such by TensorBoard. */
  write(step: number, scalars: Readonly<Record<string, number>>, wallSeconds = Date.now() / 1000): void {
    const at = [double(1, wallSeconds), integer(2, step)];
    // The start of a session makes TensorBoard forget what an earlier session, resumed from before, said from here on.
    if (!this.started) this.append([...at, bytes(7, integer(1, 1))]);
    this.started = true;
    const values = Object.entries(scalars).map(([metric, value]) =>
      bytes(1, Buffer.concat([bytes(1, Buffer.from(tagOf(metric))), float(2, value)])),
    );
    this.append([...at, bytes(5, Buffer.concat(values))]);
  }

  private append(fields: readonly Buffer[]): void {
    const data = Buffer.concat(fields);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(data.length));
    appendToFile(this.file, Buffer.concat([length, maskedCrc(length), data, maskedCrc(data)]));
  }
}

/**
 * The tag of a metric. TensorBoard groups by what stands before the first "/": `loss` and `eval_loss` are `loss/train` and
 * `loss/eval`, so that they stand side by side.
 */
export function tagOf(metric: string): string {
  return metric.startsWith('eval_') ? `${metric.slice('eval_'.length)}/eval` : `${metric}/train`;
}

/** Rotated and offset, so that the CRC of data that hold CRCs stays meaningful. */
function maskedCrc(data: Uint8Array): Buffer {
  const crc = crc32c(data);
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282_ead8) >>> 0);
  return buffer;
}

// Protocol buffer fields: a key (number << 3 | wire type), then the value.

function double(field: number, value: number): Buffer {
  const buffer = Buffer.alloc(9, (field << 3) | 1);
  buffer.writeDoubleLE(value, 1);
  return buffer;
}

function float(field: number, value: number): Buffer {
  const buffer = Buffer.alloc(5, (field << 3) | 5);
  buffer.writeFloatLE(value, 1);
  return buffer;
}

function integer(field: number, value: number): Buffer {
  return Buffer.of(field << 3, ...varint(value));
}

function bytes(field: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.of((field << 3) | 2, ...varint(value.length)), value]);
}

/** Seven bits a byte, the lowest first; the top bit says that more follow. */
function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
}
