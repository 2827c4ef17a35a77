/**
 * A file of encoded examples:
 *
 *   magic, 8 bytes | bytes of the header, u64 | header, JSON, padded with spaces to 8 bytes
 *   per chunk: facts, i32 | tokens, i32 | digests, 8 bytes each | trained, u8, padded to 4 bytes
 *   sha256 of everything before, 32 bytes
 *
 * in the byte order of the machine. Whatever is not exactly that is damaged.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import type { RowCounts } from '../data/row-counts.js';
import type { ReadReport } from '../data/rows.js';
import { streamFileAtomic } from '../files.js';
import type { EncodeReport } from './encode-counter.js';
import type { EncodedStream } from './encode-stream.js';
import { type Chunk, DIGEST_BYTES, examplesIn, examplesOf } from './example-store.js';

const MAGIC = Buffer.from('SRALSET1');
const PREFIX_BYTES = 16;
const DIGEST_OF_FILE_BYTES = 32;
const READ_BYTES = 2 ** 23;

interface Header {
  readonly key: string;
  readonly chunks: readonly {
    readonly files: readonly string[];
    readonly facts: number;
    readonly tokens: number;
    readonly trained: number;
  }[];
  readonly sharedAugmentation: readonly number[];
  readonly augmented: boolean;
  readonly tokenizerHash: string;
  readonly reports: EncodeReport[];
  readonly readReports: readonly ReadReport[];
  readonly rowCounts: readonly RowCounts[];
  readonly notice: string | null;
}

export interface StoredSet {
  readonly encoded: EncodedStream;
  readonly notice: string | null;
}

/** @throws RunError when the disk refuses */
export async function writeSet(file: string, key: string, { encoded, notice }: StoredSet): Promise<void> {
  const { chunks, sharedAugmentation, augmented, tokenizerHash, reports, readReports, rowCounts } = encoded;
  const header: Header = {
    key,
    chunks: chunks.map(({ files, facts, tokens, trained }) => ({
      files,
      facts: facts.length,
      tokens: tokens.length,
      trained: trained.length,
    })),
    sharedAugmentation: [...sharedAugmentation],
    ...{ augmented, tokenizerHash, reports, readReports, rowCounts, notice },
  };
  await streamFileAtomic(file, async handle => {
    const hash = createHash('sha256');
    const write = async (part: NodeJS.ArrayBufferView): Promise<void> => {
      const bytes = Buffer.from(part.buffer, part.byteOffset, part.byteLength);
      hash.update(bytes);
      await handle.writeFile(bytes);
    };
    const text = Buffer.from(JSON.stringify(header));
    const padded = Buffer.alloc(roundUp(text.length, 8), ' ');
    text.copy(padded);
    const prefix = Buffer.alloc(PREFIX_BYTES);
    MAGIC.copy(prefix);
    prefix.writeBigUInt64LE(BigInt(padded.length), MAGIC.length);
    await write(prefix);
    await write(padded);
    for (const { facts, tokens, digests, trained } of chunks) {
      for (const part of [facts, tokens, digests]) await write(part);
      await write(Buffer.concat([trained, Buffer.alloc(roundUp(trained.length, 4) - trained.length)]));
    }
    await handle.writeFile(hash.digest());
  });
}

/**
 * @returns null where there is no file, or what makes it useless
 * @throws nothing: whatever cannot be read is made again
 */
export async function readSet(
  file: string,
  key: string,
): Promise<StoredSet | { readonly damage: string } | null> {
  try {
    await using handle = await open(file);
    return await readFrom(handle, key);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    return { damage: (cause as Error).message };
  }
}

async function readFrom(handle: FileHandle, key: string): Promise<StoredSet> {
  const { size } = await handle.stat();
  const hash = createHash('sha256');
  let position = 0;
  const read = async (bytes: number): Promise<Buffer<ArrayBuffer>> => {
    // Before memory is taken for what a damaged header asks for.
    if (bytes > size - position) throw new Error('it is cut off');
    const whole = Buffer.from(new ArrayBuffer(bytes));
    for (let done = 0; done < bytes; ) {
      const part = whole.subarray(done, Math.min(bytes, done + READ_BYTES));
      const { bytesRead } = await handle.read(part, 0, part.length, position);
      if (bytesRead === 0) throw new Error('it is cut off');
      done += bytesRead;
      position += bytesRead;
    }
    return whole;
  };
  const hashed = async (bytes: number): Promise<Buffer<ArrayBuffer>> => {
    const part = await read(bytes);
    hash.update(part);
    return part;
  };
  const prefix = await hashed(PREFIX_BYTES);
  if (!prefix.subarray(0, MAGIC.length).equals(MAGIC)) throw new Error('it is another kind of file');
  const header = JSON.parse(
    (await hashed(Number(prefix.readBigUInt64LE(MAGIC.length)))).toString(),
  ) as Header;
  const body = await hashed(size - position - DIGEST_OF_FILE_BYTES);
  if (!hash.digest().equals(await read(DIGEST_OF_FILE_BYTES)))
    throw new Error('its checksum is not that of its contents');
  if (header.key !== key) throw new Error('it is that of other inputs');
  const chunks = chunksOf(header, body);
  const { augmented, tokenizerHash, reports, readReports, rowCounts, notice } = header;
  return {
    encoded: {
      pairs: chunks.flatMap(examplesOf),
      sharedAugmentation: Int32Array.from(header.sharedAugmentation),
      ...{ augmented, tokenizerHash, reports, chunks, readReports, rowCounts },
    },
    notice,
  };
}

function chunksOf({ chunks }: Header, { buffer }: Buffer<ArrayBuffer>): Chunk[] {
  let at = 0;
  const skip = (bytes: number): number => {
    at += bytes;
    return at - bytes;
  };
  return chunks.map(({ files, ...lengths }) => {
    const facts = new Int32Array(buffer, skip(4 * lengths.facts), lengths.facts);
    const tokens = new Int32Array(buffer, skip(4 * lengths.tokens), lengths.tokens);
    const digestBytes = DIGEST_BYTES * examplesIn({ facts });
    const digests = new Uint8Array(buffer, skip(digestBytes), digestBytes);
    const trained = new Uint8Array(buffer, skip(roundUp(lengths.trained, 4)), lengths.trained);
    return { files, facts, tokens, digests, trained };
  });
}

const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;
