/** Zstandard data that store their content as it is (RFC 8878), as Node 20 cannot compress any. */

const MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const BLOCK_BYTES = 100_000;

const blockHeader = (isLast: boolean, type: 0 | 1, bytes: number): Buffer => {
  const header = Buffer.alloc(3);
  header.writeUIntLE((bytes << 3) | (type << 1) | Number(isLast), 0, 3);
  return header;
};

/** @param windowDescriptor of the frame; 1 MiB by default */
export function zstdStored(content: string | Uint8Array, windowDescriptor = 10 << 3): Buffer {
  const bytes = Buffer.from(content);
  const blocks: Buffer[] = [];
  for (let at = 0; at === 0 || at < bytes.length; at += BLOCK_BYTES) {
    const part = bytes.subarray(at, at + BLOCK_BYTES);
    blocks.push(blockHeader(at + BLOCK_BYTES >= bytes.length, 0, part.length), part);
  }
  return Buffer.concat([MAGIC, Buffer.of(0, windowDescriptor), ...blocks]);
}

/** A frame of `head`, then `repeats` times 100,000 of the character `repeated`, each in four bytes. */
export function zstdRepeated(head: string, repeated: string, repeats: number): Buffer {
  const run = Buffer.concat([blockHeader(false, 1, BLOCK_BYTES), Buffer.from(repeated)]);
  const start = Buffer.from(head);
  return Buffer.concat([
    ...[MAGIC, Buffer.of(0, 10 << 3), blockHeader(false, 0, start.length), start],
    ...Array.from({ length: repeats }, () => run),
    blockHeader(true, 0, 0),
  ]);
}

/** A frame that holds no data. */
export const zstdSkipped = (bytes: number): Buffer =>
  Buffer.concat([Buffer.of(0x5a, 0x2a, 0x4d, 0x18, bytes, 0, 0, 0), Buffer.alloc(bytes, 7)]);
