/**
 * A file of encoded examples:
 *
 *   magic, 8 bytes | bytes of the header, u64 | header, JSON, padded with spaces to 8 bytes
 *   per chunk: facts, i32 | tokens, i32 | digests, 8 bytes each | trained, u8, padded to 4 bytes
 *   sha256 of everything before, 32 bytes
 *
 * in the byte order of the machine, but for the u64, which is little-endian. Whatever is not exactly that is damaged.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { z } from 'zod';
import { FORMAT_NAMES } from '../data/formats/index.js';
import { streamFileAtomic } from '../files.js';
import type { EncodedStream } from './encode-stream.js';
import { type Chunk, DIGEST_BYTES, examplesIn, examplesOf } from './example-store.js';

const MAGIC = Buffer.from('SRALSET1');
const PREFIX_BYTES = 16;
const DIGEST_OF_FILE_BYTES = 32;
/** What is read, and put into the checksum, at once: both refuse more than 2 GiB. */
const PIECE_BYTES = 2 ** 23;

const count = z.int().nonnegative();
const counts = z.record(z.string(), count);

const badRowsSchema = z.object({
  first: z.array(
    z.object({
      problem: z.string(),
      details: z.object({
        file: z.string().exactOptional(),
        row: z.number().exactOptional(),
        column: z.number().exactOptional(),
        field: z.string().exactOptional(),
        hint: z.string().exactOptional(),
      }),
    }),
  ),
  more: z.array(z.tuple([z.string(), count])),
});

const encodeReportSchema = z.object({
  file: z.string(),
  bad: badRowsSchema,
  ...{ pairs: count, dropped: count, equalAfterCut: count, pairsCut: count },
  ...{ promptsCut: count, chosenCut: count, rejectedCut: count, endsCut: count },
});

const readReportSchema = z.object({
  file: z.string(),
  source: z.string().nullable(),
  format: z.enum(FORMAT_NAMES).nullable(),
  by: z.array(z.string()),
  kind: z.enum(['text', 'chat']).nullable(),
  ...{ rows: count, used: count, notDrawn: count },
  stoppedEarly: z.boolean(),
  skipped: counts,
  badRows: z.array(z.string()),
  examples: z.array(z.object({ row: z.number(), reason: z.string() })),
});

const rowCountsSchema = z.object({
  file: z.string(),
  ...{ rows: count, chats: count, emptyChosen: count, emptyRejected: count },
  ...{ repeatedChosen: count, repeatedRejected: count },
});

const headerSchema = z.object({
  key: z.string(),
  chunks: z.array(z.object({ files: z.array(z.string()), facts: count, tokens: count, trained: count })),
  sharedAugmentation: z.array(count),
  augmented: z.boolean(),
  tokenizerHash: z.string(),
  reports: z.array(encodeReportSchema),
  readReports: z.array(readReportSchema),
  rowCounts: z.array(rowCountsSchema),
  notice: z.string().nullable(),
});

type Header = z.infer<typeof headerSchema>;

export interface StoredSet {
  readonly encoded: EncodedStream;
  readonly notice: string | null;
}

/** @throws RunError when the disk refuses */
export async function writeSet(file: string, key: string, { encoded, notice }: StoredSet): Promise<void> {
  const { chunks, sharedAugmentation, augmented, tokenizerHash, reports, readReports, rowCounts } = encoded;
  const header = {
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
      for (let at = 0; at < bytes.length; at += PIECE_BYTES)
        hash.update(bytes.subarray(at, at + PIECE_BYTES));
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
      const part = whole.subarray(done, Math.min(bytes, done + PIECE_BYTES));
      const { bytesRead } = await handle.read(part, 0, part.length, position);
      if (bytesRead === 0) throw new Error('it is cut off');
      hash.update(part.subarray(0, bytesRead));
      done += bytesRead;
      position += bytesRead;
    }
    return whole;
  };
  const prefix = await read(PREFIX_BYTES);
  if (!prefix.subarray(0, MAGIC.length).equals(MAGIC)) throw new Error('it is another kind of file');
  const header = parseHeader(await read(Number(prefix.readBigUInt64LE(MAGIC.length))));
  const chunks: Chunk[] = [];
  for (const lengths of header.chunks) chunks.push(chunkFrom(lengths, await read(bytesOf(lengths))));
  const digest = hash.copy().digest();
  if (!digest.equals(await read(DIGEST_OF_FILE_BYTES)) || position < size)
    throw new Error('its checksum is not that of its contents');
  if (header.key !== key) throw new Error('it is that of other inputs');
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

/** @throws Error for what is no header, or that of another version */
function parseHeader(text: Buffer): Header {
  const { data, error } = headerSchema.safeParse(JSON.parse(text.toString()));
  if (error === undefined) return data;
  const { path, message } = error.issues[0]!;
  throw new Error(`its header is of another version: ${path.join('.')}: ${message}`);
}

const bytesOf = ({ facts, tokens, trained }: Header['chunks'][number]): number =>
  4 * facts + 4 * tokens + DIGEST_BYTES * examplesIn({ facts: { length: facts } }) + roundUp(trained, 4);

function chunkFrom({ files, ...lengths }: Header['chunks'][number], { buffer }: Buffer<ArrayBuffer>): Chunk {
  const facts = new Int32Array(buffer, 0, lengths.facts);
  const tokens = new Int32Array(buffer, facts.byteLength, lengths.tokens);
  const digestsAt = facts.byteLength + tokens.byteLength;
  const digests = new Uint8Array(buffer, digestsAt, DIGEST_BYTES * examplesIn({ facts }));
  const trained = new Uint8Array(buffer, digestsAt + digests.byteLength, lengths.trained);
  return { files, facts, tokens, digests, trained };
}

const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;
