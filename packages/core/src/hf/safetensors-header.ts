/** The JSON header of a safetensors file: what tensors there are, and whether they fit the file. */
import { inspectJson } from '../data/json-text.js';
import { ModelError, shown } from '../errors.js';
import { isRecord } from './json.js';

const ELEMENT_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;

export type TensorDtype = keyof typeof ELEMENT_BYTES;

/** Where a stored tensor is. Its bytes are row-major and little-endian. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  readonly file: string;
  /** From the start of the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

export interface SafetensorsHeader {
  readonly entries: Map<string, TensorEntry>;
  readonly metadata: Record<string, string>;
}

export function tensorBytes(dtype: TensorDtype, shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, ELEMENT_BYTES[dtype]);
}

/** A defect of a file, with the remedy that all of them share. */
export function damaged(file: string, message: string, tensor?: string, cause?: unknown): ModelError {
  return new ModelError(message, {
    file,
    hint: 'The file is damaged: download or copy it again.',
    cause,
    ...(tensor !== undefined && { field: tensor }),
  });
}

/**
 * Parses and checks a header.
 *
 * @param json the header's bytes
 * @param dataOffset where in the file the tensors begin
 * @param fileBytes length of the file
 * @throws ModelError naming the file and the tensor
 */
export function parseHeader(
  file: string,
  json: Uint8Array,
  dataOffset: number,
  fileBytes: number,
): SafetensorsHeader {
  const { __metadata__: metadata = {}, ...tensors } = parseObject(file, json);
  if (!isRecord(metadata) || !Object.values(metadata).every(value => typeof value === 'string')) {
    throw damaged(file, 'The metadata are not texts.', '__metadata__');
  }
  const entries = Object.entries(tensors).map(([name, value]) => parseEntry(file, name, value, dataOffset));
  checkLayout(file, entries, dataOffset, fileBytes);
  return {
    entries: new Map(entries.map(entry => [entry.name, entry])),
    metadata: metadata as Record<string, string>,
  };
}

function parseObject(file: string, json: Uint8Array): Record<string, unknown> {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(json);
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged(file, `The header is not valid JSON (${(cause as Error).message}).`, undefined, cause);
  }
  if (!isRecord(value)) throw damaged(file, 'The header is not a JSON object.');
  const twice = inspectJson(text).duplicateKey;
  if (twice !== undefined) throw damaged(file, 'The header has this name twice.', twice);
  return value;
}

function parseEntry(file: string, name: string, value: unknown, dataOffset: number): TensorEntry {
  const { dtype, shape, data_offsets: offsets } = isRecord(value) ? value : {};
  if (!isSizes(shape)) throw damaged(file, `The shape is ${shown(shape)}.`, name);
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!) {
    throw damaged(file, `The data_offsets are ${shown(offsets)}.`, name);
  }
  if (typeof dtype !== 'string' || !Object.hasOwn(ELEMENT_BYTES, dtype)) {
    throw new ModelError(`The dtype ${shown(dtype)} is not known.`, {
      file,
      field: name,
      hint: 'Convert the checkpoint to F32, F16 or BF16.',
    });
  }
  const [begin, end] = offsets as [number, number];
  const expectedBytes = tensorBytes(dtype as TensorDtype, shape);
  if (end - begin !== expectedBytes) {
    throw damaged(
      file,
      `A tensor of dtype ${dtype} and shape [${shape.join(', ')}] has ${expectedBytes} bytes, not ${end - begin}.`,
      name,
    );
  }
  return {
    name,
    dtype: dtype as TensorDtype,
    shape,
    file,
    byteOffset: dataOffset + begin,
    byteLength: end - begin,
  };
}

/** The tensors must fill the rest of the file, one after another. */
function checkLayout(file: string, entries: TensorEntry[], dataOffset: number, fileBytes: number): void {
  entries.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let end = dataOffset;
  for (const { name, byteOffset, byteLength } of entries) {
    if (byteOffset < end) throw damaged(file, 'Its bytes overlap those of another tensor.', name);
    if (byteOffset > end)
      throw damaged(file, `Before it, ${byteOffset - end} bytes belong to no tensor.`, name);
    end = byteOffset + byteLength;
    if (end > fileBytes) {
      throw damaged(
        file,
        `It is truncated: the tensor ends at byte ${end}, the file at byte ${fileBytes}.`,
        name,
      );
    }
  }
  if (end < fileBytes) throw damaged(file, `The last ${fileBytes - end} bytes belong to no tensor.`);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(size => Number.isSafeInteger(size) && size >= 0);
}
