import { NativeError } from './errors.js';
import { native } from './load.js';
import { currentScope, type Scope } from './scope.js';

/** `bf16` is the upper half of an f32: 8 bits of exponent, 7 of mantissa. `i32` is for indices only. */
export type DType = 'f32' | 'bf16' | 'i32';

/** Number formats of weights in files. */
export type FileType = 'f32' | 'f16' | 'bf16';

const dtypeCodes = { f32: 0, bf16: 1, i32: 2 } as const;
const dtypeBytes = { f32: 4, bf16: 2, i32: 4 } as const;
const fileTypeCodes = { f32: 0, f16: 1, bf16: 2 } as const;
const fileTypeBytes = { f32: 4, f16: 2, bf16: 2 } as const;
const ownType = -1;

/** Stands for one block of native memory; views of the same block hold the same object. */
type Memory = object;

/** Only this file makes tensors: a handle that says something untrue of its memory would lead past its end. */
const MAKER = Symbol('maker of tensors');

/**
 * A handle on native memory: row-major, contiguous, 1 to 4 dimensions of at least 1. It belongs to the innermost open
 * `Scope`, or, where there is none, to the caller, who calls `dispose`. Any use of a disposed tensor throws
 * `NativeError` with the code `ERR_TENSOR_DISPOSED`. Its properties cannot be changed: assigning to one is a `TypeError`.
 */
export class Tensor implements Disposable {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Number of the tensor in the native table; never used again for another tensor. */
  readonly id: number;
  /** Number of elements. */
  readonly size: number;
  readonly bytes: number;
  /** @internal The block of memory, and the place in it: how the operations find arguments that overlap. */
  readonly memory: Memory;
  /** @internal */
  readonly byteOffset: number;
  readonly #scope: Scope | undefined;
  #disposed = false;

  private constructor(
    maker: typeof MAKER,
    id: number,
    shape: readonly number[],
    dtype: DType,
    memory: Memory,
    byteOffset: number,
  ) {
    if (maker !== MAKER) throw new TypeError('A Tensor is made by Tensor.empty, zeros or from');
    this.id = id;
    this.shape = Object.freeze([...shape]);
    this.dtype = dtype;
    this.size = sizeOf(shape);
    this.bytes = this.size * dtypeBytes[dtype];
    this.memory = memory;
    this.byteOffset = byteOffset;
    this.#scope = currentScope();
    this.#scope?.own(this);
    Object.freeze(this);
  }

  /** @internal Whether `value` was made here: not a copy of one, nor an object that inherits from one. */
  static is(value: unknown): value is Tensor {
    return typeof value === 'object' && value !== null && #disposed in value;
  }

  /** A tensor with undefined contents. @throws NativeError (ERR_OUT_OF_MEMORY) */
  static empty(shape: readonly number[], dtype: DType = 'f32'): Tensor {
    const sizes = checkedShape('Tensor.empty', shape, dtype);
    const id = native().create(dtypeCodes[dtype], sizes.length, ...sizes);
    return new Tensor(MAKER, id, sizes, dtype, {}, 0);
  }

  /** A tensor of zeros. @throws NativeError (ERR_OUT_OF_MEMORY) */
  static zeros(shape: readonly number[], dtype: DType = 'f32'): Tensor {
    const tensor = Tensor.empty(shape, dtype);
    tensor.zero();
    return tensor;
  }

  /**
   * A tensor with the given values in row-major order. Without `dtype`, an Int32Array becomes i32 and everything else
   * f32. For bf16 the values are rounded to nearest even.
   */
  static from(
    values: Float32Array | Int32Array | readonly number[],
    shape: readonly number[],
    dtype: DType = values instanceof Int32Array ? 'i32' : 'f32',
  ): Tensor {
    const sizes = checkedShape('Tensor.from', shape, dtype);
    const size = sizeOf(sizes);
    if (values.length !== size) {
      throw new TypeError(
        `Tensor.from: "values" must hold ${size} numbers for [${sizes.join(', ')}], got ${values.length}`,
      );
    }
    const numbers = dtype === 'i32' ? toInt32(values) : toFloat32(values);
    const tensor = Tensor.empty(sizes, dtype);
    const type = dtype === 'bf16' ? fileTypeCodes.f32 : ownType;
    native().write(tensor.id, 0, bytesOf(numbers), type);
    return tensor;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Gives the memory back, unless another view still needs it. Does nothing the second time. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#scope?.disown(this);
    native().release(this.id);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** A view of rows [start, end) of the first dimension; shares memory, and either may be disposed first. */
  rows(start: number, end: number): Tensor {
    this.#checkAlive('rows');
    const [count, ...rest] = this.shape as [number, ...number[]];
    if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || end <= start || end > count) {
      throw new TypeError(
        `Tensor.rows: "start" and "end" must be integers with 0 <= start < end <= ${count}, got ${start} and ${end}`,
      );
    }
    return this.#view([end - start, ...rest], start * sizeOf(rest));
  }

  /** A view of the same elements in another shape. */
  reshape(shape: readonly number[]): Tensor {
    this.#checkAlive('reshape');
    const sizes = checkedShape('Tensor.reshape', shape, this.dtype);
    if (sizeOf(sizes) !== this.size) {
      throw new TypeError(
        `Tensor.reshape: "shape" must have the ${this.size} elements of [${this.shape.join(', ')}], ` +
          `got [${sizes.join(', ')}]`,
      );
    }
    return this.#view(sizes, 0);
  }

  #view(shape: readonly number[], elementOffset: number): Tensor {
    const id = native().createView(this.id, elementOffset, shape.length, ...shape);
    const byteOffset = this.byteOffset + elementOffset * dtypeBytes[this.dtype];
    return new Tensor(MAKER, id, shape, this.dtype, this.memory, byteOffset);
  }

  /** A copy of an f32 or bf16 tensor's values. */
  toFloat32Array(): Float32Array {
    this.#checkAlive('toFloat32Array');
    if (this.dtype === 'i32')
      throw new TypeError('Tensor.toFloat32Array: the tensor must be f32|bf16, got i32');
    const values = new Float32Array(this.size);
    if (this.dtype === 'bf16') native().readWidened(this.id, values);
    else native().read(this.id, bytesOf(values));
    return values;
  }

  /** A copy of an i32 tensor's values. */
  toInt32Array(): Int32Array {
    this.#checkAlive('toInt32Array');
    if (this.dtype !== 'i32')
      throw new TypeError(`Tensor.toInt32Array: the tensor must be i32, got ${this.dtype}`);
    const values = new Int32Array(this.size);
    native().read(this.id, bytesOf(values));
    return values;
  }

  /**
   * Converts little-endian numbers of `sourceType` into this f32 or bf16 tensor, starting at element `offset`. A file
   * can be read in pieces of any length that is a whole number of elements.
   */
  write(bytes: Uint8Array, sourceType: FileType, offset = 0): void {
    this.#checkAlive('write');
    if (this.dtype === 'i32') throw new TypeError('Tensor.write: the tensor must be f32|bf16, got i32');
    if (!(bytes instanceof Uint8Array)) throw new TypeError('Tensor.write: "bytes" must be a Uint8Array');
    if (!Object.hasOwn(fileTypeBytes, sourceType)) {
      throw new TypeError(`Tensor.write: "sourceType" must be f32|f16|bf16, got ${String(sourceType)}`);
    }
    const count = bytes.length / fileTypeBytes[sourceType];
    if (!Number.isInteger(count)) {
      throw new TypeError(
        `Tensor.write: "bytes" must hold whole ${sourceType} numbers, got ${bytes.length} bytes`,
      );
    }
    if (!Number.isInteger(offset) || offset < 0 || offset + count > this.size) {
      throw new TypeError(
        `Tensor.write: "offset" must leave room for ${count} elements among ${this.size}, got ${offset}`,
      );
    }
    native().write(this.id, offset, bytes, fileTypeCodes[sourceType]);
  }

  /** A copy of the raw bytes in the tensor's own type, little-endian. */
  readBytes(): Uint8Array {
    this.#checkAlive('readBytes');
    const bytes = new Uint8Array(this.bytes);
    native().read(this.id, bytes);
    return bytes;
  }

  /** Copies the contents of a tensor of the same shape and type. */
  copyFrom(other: Tensor): void {
    this.#checkAlive('copyFrom');
    if (!Tensor.is(other)) throw new TypeError('Tensor.copyFrom: "other" must be a Tensor');
    other.#checkAlive('copyFrom');
    if (other.dtype !== this.dtype || !sameShape(other.shape, this.shape)) {
      throw new TypeError(`Tensor.copyFrom: "other" must be ${describe(this)}, got ${describe(other)}`);
    }
    native().copy(this.id, other.id);
  }

  /** Sets every element to zero. */
  zero(): void {
    this.#checkAlive('zero');
    native().zero(this.id);
  }

  #checkAlive(method: string): void {
    if (this.#disposed) {
      throw new NativeError('ERR_TENSOR_DISPOSED', `Tensor.${method}: the tensor was disposed`);
    }
  }
}

/** `f32 [2, 3]` */
export function describe(tensor: Tensor): string {
  return `${tensor.dtype} [${tensor.shape.join(', ')}]`;
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const length of shape) size *= length;
  return size;
}

/** A copy, which is what was checked: an array may answer differently the second time. */
function checkedShape(where: string, shape: readonly number[], dtype: DType): readonly number[] {
  if (!Object.hasOwn(dtypeBytes, dtype)) {
    throw new TypeError(`${where}: "dtype" must be f32|bf16|i32, got ${String(dtype)}`);
  }
  const sizes = Array.isArray(shape) && shape.length <= 4 ? Array.from(shape) : [];
  const valid = sizes.length >= 1 && sizes.length <= 4;
  if (!valid || !sizes.every(length => Number.isSafeInteger(length) && length >= 1)) {
    throw new TypeError(
      `${where}: "shape" must be an array of 1 to 4 integers of at least 1, got ${valid ? `[${sizes.join(', ')}]` : String(shape)}`,
    );
  }
  if (!Number.isSafeInteger(sizeOf(sizes) * dtypeBytes[dtype])) {
    throw new TypeError(`${where}: "shape" [${sizes.join(', ')}] has too many elements`);
  }
  return sizes;
}

function bytesOf(values: Float32Array | Int32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function toFloat32(values: Float32Array | Int32Array | readonly number[]): Float32Array {
  if (values instanceof Float32Array) return values;
  if (values instanceof Int32Array) throw new TypeError('Tensor.from: an Int32Array needs dtype i32');
  return Float32Array.from(values);
}

function toInt32(values: Float32Array | Int32Array | readonly number[]): Int32Array {
  if (values instanceof Int32Array) return values;
  const numbers = Int32Array.from(values);
  const wrong = numbers.findIndex((number, index) => number !== values[index]);
  if (wrong >= 0) {
    throw new TypeError(`Tensor.from: "values"[${wrong}] must be a 32-bit integer, got ${values[wrong]}`);
  }
  return numbers;
}
