/** How far apart the weights of two runs are. */
import { readFileSync } from 'node:fs';

export interface WeightDifference {
  /** The largest over all tensors of ||a - b|| / ||b||. */
  readonly relative: number;
  /** The largest over all tensors of max |a - b| / max |b|. */
  readonly max: number;
  /** Name of the tensor with the largest `relative`. */
  readonly tensor: string;
}

type Tensors = ReadonlyMap<string, { readonly shape: string; readonly values: Float32Array }>;

/**
 * Compares two model.safetensors files of F32 or BF16.
 *
 * @throws Error when they do not have the same tensors
 */
export function compareWeights(fileA: string, fileB: string): WeightDifference {
  const [a, b] = [readTensors(fileA), readTensors(fileB)];
  const shapesOf = (tensors: Tensors): string =>
    [...tensors]
      .map(([name, { shape }]) => `${name} ${shape}`)
      .sort()
      .join('\n');
  if (shapesOf(a) !== shapesOf(b)) throw new Error(`${fileA} and ${fileB} have different tensors.`);
  let worst: WeightDifference = { relative: -1, max: 0, tensor: '' };
  for (const [name, { values }] of a) {
    const { relative, max } = compare(values, b.get(name)!.values);
    const isWorse = relative > worst.relative || Number.isNaN(relative);
    worst = {
      relative: isWorse ? relative : worst.relative,
      max: Math.max(max, worst.max),
      tensor: isWorse ? name : worst.tensor,
    };
  }
  return worst;
}

/** NaN where there is one in either. */
function compare(a: Float32Array, b: Float32Array): { relative: number; max: number } {
  let [differenceSquare, square, maxDifference, max] = [0, 0, 0, 0];
  for (let i = 0; i < b.length; i++) {
    const difference = a[i]! - b[i]!;
    differenceSquare += difference ** 2;
    square += b[i]! ** 2;
    maxDifference = Math.max(maxDifference, Math.abs(difference));
    max = Math.max(max, Math.abs(b[i]!));
  }
  const ratio = (part: number, whole: number): number => (part === 0 ? 0 : part / whole);
  return { relative: ratio(Math.sqrt(differenceSquare), Math.sqrt(square)), max: ratio(maxDifference, max) };
}

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

function readTensors(file: string): Tensors {
  const bytes = readFileSync(file);
  const dataOffset = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, dataOffset)) as Record<string, Entry>;
  delete header.__metadata__;
  return new Map(
    Object.entries(header).map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [begin, end],
        },
      ]) => {
        // A copy, as a view of floats must begin at a multiple of their size.
        const data = new Uint8Array(bytes.subarray(dataOffset + begin, dataOffset + end)).buffer;
        return [name, { shape: `[${shape.join(', ')}]`, values: decode(data, dtype, `${file}: ${name}`) }];
      },
    ),
  );
}

function decode(data: ArrayBuffer, dtype: string, where: string): Float32Array {
  if (dtype === 'F32') return new Float32Array(data);
  // The upper half of an f32.
  if (dtype === 'BF16')
    return new Float32Array(Uint32Array.from(new Uint16Array(data), bits => bits << 16).buffer);
  throw new Error(`${where} is of dtype ${dtype}.`);
}
