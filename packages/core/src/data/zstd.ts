/**
 * Zstandard data (RFC 8878), decompressed as they arrive. The library decodes the blocks of a frame; the frames are walked
 * here, because it neither compares their checksums nor doubts the memory that they ask for.
 */
import { Decompress } from 'fzstd';
import xxhash from 'xxhash-wasm';

/** What `zstd -d` allows itself: the furthest that data look back. */
const MAX_WINDOW_BYTES = 128 * 1024 * 1024;

const FRAME_MAGIC = 0xfd2fb528;
/** 16 magic numbers for frames that hold no data. */
const SKIPPED_MAGIC = 0x184d2a50;
const RLE_BLOCK = 1;
const CHECKSUM_FLAG = 4;

/** The data are not what Zstandard writes. */
export class ZstdError extends Error {}

/** @throws ZstdError when the data are damaged, cut off, or need a dictionary or too much memory */
export async function* readZstd(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const input = new Input(source);
  for (let frames = 0; ; frames++) {
    const magic = await input.take(4, frames > 0);
    if (magic === null) return;
    const number = magic.readUInt32LE(0);
    if (number === FRAME_MAGIC) yield* readFrame(input, magic);
    else if ((number & ~0xf) === SKIPPED_MAGIC) await input.skip((await input.need(4)).readUInt32LE(0));
    else throw new ZstdError('no frame begins where one should');
  }
}

async function* readFrame(input: Input, magic: Buffer): AsyncGenerator<Buffer> {
  const { header, contentBytes, hasChecksum } = await readHeader(input, magic);
  const hash = hasChecksum ? (await xxhash()).create64() : null;
  const parts: Uint8Array[] = [];
  const decoder = new Decompress(part => parts.push(part));
  let total = 0;
  for (let isLast = false, first = true; !isLast; first = false) {
    const head = await input.need(3);
    const facts = head.readUIntLE(0, 3);
    isLast = (facts & 1) === 1;
    const body = await input.need(((facts >> 1) & 3) === RLE_BLOCK ? 1 : facts >> 3);
    const block = Buffer.concat(first ? [header, head, body] : [head, body]);
    try {
      decoder.push(block, isLast);
    } catch (cause) {
      throw new ZstdError((cause as Error).message, { cause });
    }
    for (const part of parts.splice(0)) {
      total += part.length;
      hash?.update(part);
      yield Buffer.from(part.buffer, part.byteOffset, part.length);
    }
  }
  if (contentBytes !== null && total !== contentBytes) {
    throw new ZstdError(`a frame of ${contentBytes} bytes gives ${total}`);
  }
  if (hash !== null && (await input.need(4)).readUInt32LE(0) !== Number(hash.digest() & 0xffffffffn)) {
    throw new ZstdError('the checksum of a frame is another');
  }
}

/** @returns the header as the decoder gets it: without the checksum, which is compared here */
async function readHeader(
  input: Input,
  magic: Buffer,
): Promise<{ header: Buffer; contentBytes: number | null; hasChecksum: boolean }> {
  const descriptor = await input.need(1);
  const flags = descriptor[0]!;
  const isSingle = (flags & 0x20) !== 0;
  const window = isSingle ? Buffer.alloc(0) : await input.need(1);
  const dictionary = await input.need([0, 1, 2, 4][flags & 3]!);
  if (dictionary.some(byte => byte !== 0)) throw new ZstdError('it needs a dictionary');
  const size = await input.need([isSingle ? 1 : 0, 2, 4, 8][flags >> 6]!);
  const contentBytes = contentSize(size);
  const windowBytes = isSingle ? contentBytes! : windowSize(window[0]!);
  if (windowBytes > MAX_WINDOW_BYTES) {
    throw new ZstdError(
      `it needs ${Math.ceil(windowBytes / 1024 ** 2)} MiB of memory, more than ${MAX_WINDOW_BYTES / 1024 ** 2}; ` +
        'compress it without --long',
    );
  }
  const plain = Buffer.of(flags & ~CHECKSUM_FLAG);
  const header = Buffer.concat([magic, plain, window, dictionary, size]);
  return { header, contentBytes, hasChecksum: (flags & CHECKSUM_FLAG) !== 0 };
}

function contentSize(field: Buffer): number | null {
  if (field.length === 0) return null;
  if (field.length === 8) return Number(field.readBigUInt64LE(0));
  return field.readUIntLE(0, field.length) + (field.length === 2 ? 256 : 0);
}

function windowSize(byte: number): number {
  const base = 2 ** (10 + (byte >> 3));
  return base + (base / 8) * (byte & 7);
}

/** Bytes by the number, from chunks of any length. */
class Input {
  private readonly chunks: AsyncIterator<Buffer>;
  private open: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.chunks = source[Symbol.asyncIterator]();
  }

  async need(bytes: number): Promise<Buffer> {
    return (await this.take(bytes, false))!;
  }

  /** @returns null at the end, where it may end here */
  async take(bytes: number, mayEnd: boolean): Promise<Buffer | null> {
    const parts = [this.open];
    let held = this.open.length;
    while (held < bytes) {
      const { done, value } = await this.chunks.next();
      if (done) {
        if (mayEnd && held === 0) return null;
        throw new ZstdError('unexpected end of file');
      }
      parts.push(value);
      held += value.length;
    }
    const all = parts.length === 1 ? this.open : Buffer.concat(parts);
    this.open = all.subarray(bytes);
    return all.subarray(0, bytes);
  }

  async skip(bytes: number): Promise<void> {
    for (let left = bytes; left > 0; ) {
      const part = Math.min(left, 65_536);
      await this.need(part);
      left -= part;
    }
  }
}
