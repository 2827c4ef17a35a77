import { NativeError } from './errors.js';
import { type DType, describe, sameShape, Tensor } from './tensor.js';

export const F32 = ['f32'] as const;
export const I32 = ['i32'] as const;
/** The types a step computes in. */
export const COMPUTE = ['f32', 'bf16'] as const;

/** A size that is known, or the name of one that the first tensor using it decides. */
export type Dimension = string | number;

/** What a number must satisfy, and how to say it. */
export interface NumberRule {
  text: string;
  accepts: (value: number) => boolean;
}
export const FINITE: NumberRule = { text: 'a finite number', accepts: Number.isFinite };
export const POSITIVE: NumberRule = {
  text: 'a finite number above 0',
  accepts: value => Number.isFinite(value) && value > 0,
};
export const NOT_NEGATIVE: NumberRule = {
  text: 'a finite number of at least 0',
  accepts: value => Number.isFinite(value) && value >= 0,
};
/** [0, 1) */
export const FRACTION: NumberRule = {
  text: 'a number of at least 0 and below 1',
  accepts: value => value >= 0 && value < 1,
};
export const COUNT: NumberRule = {
  text: 'an integer of at least 0',
  accepts: value => Number.isSafeInteger(value) && value >= 0,
};
export const AT_LEAST_ONE: NumberRule = {
  text: 'an integer of at least 1',
  accepts: value => Number.isSafeInteger(value) && value >= 1,
};

interface SeenTensor {
  name: string;
  tensor: Tensor;
  written: boolean;
}

/**
 * The arguments of one operation while they are checked. Every method reads one argument by its name and throws a
 * `TypeError` that names the operation, the argument, what was expected and what was given; a disposed tensor is a
 * `NativeError` with the code `ERR_TENSOR_DISPOSED`.
 */
export class Call<Args extends object> {
  readonly #operation: string;
  readonly #args: Record<string, unknown>;
  readonly #sizes = new Map<string, number>();
  readonly #seen: SeenTensor[] = [];

  constructor(operation: string, args: Args) {
    if (typeof args !== 'object' || args === null) {
      throw new TypeError(`${operation}: the arguments must be given as one object, got ${kindOf(args)}`);
    }
    this.#operation = operation;
    this.#args = args as Record<string, unknown>;
  }

  /** A tensor that is only read. */
  input(name: keyof Args & string, dtypes: readonly DType[], shape: readonly Dimension[]): Tensor {
    return this.#tensor(name, dtypes, shape, false);
  }

  /** The same, or undefined where it is not given. */
  optionalInput(
    name: keyof Args & string,
    dtypes: readonly DType[],
    shape: readonly Dimension[],
  ): Tensor | undefined {
    return this.#args[name] === undefined ? undefined : this.input(name, dtypes, shape);
  }

  /**
   * A tensor that is written. It must not share memory with another argument, except that it may be `inPlaceOf`
   * itself.
   */
  output(
    name: keyof Args & string,
    dtypes: readonly DType[],
    shape: readonly Dimension[],
    inPlaceOf?: keyof Args & string,
  ): Tensor {
    return this.#tensor(name, dtypes, shape, true, inPlaceOf);
  }

  /** The same, or undefined where it is not given. */
  optionalOutput(
    name: keyof Args & string,
    dtypes: readonly DType[],
    shape: readonly Dimension[],
  ): Tensor | undefined {
    return this.#args[name] === undefined ? undefined : this.output(name, dtypes, shape);
  }

  /** The shape of the tensor given for `name`, for operations that take any. */
  shapeOf(name: keyof Args & string): readonly number[] {
    return this.#alive(name, this.#args[name], () => 'a tensor').shape;
  }

  /** The size a named dimension got from the tensors so far. */
  size(dimension: string): number {
    const size = this.#sizes.get(dimension);
    if (size === undefined) throw new Error(`${this.#operation}: dimension ${dimension} is not known yet`);
    return size;
  }

  number(name: keyof Args & string, rule: NumberRule): number {
    const value = this.#args[name];
    if (typeof value !== 'number' || !rule.accepts(value)) {
      throw this.error(name, rule.text, typeof value === 'number' ? String(value) : kindOf(value));
    }
    return value;
  }

  optionalNumber(name: keyof Args & string, rule: NumberRule, otherwise: number): number {
    return this.#args[name] === undefined ? otherwise : this.number(name, rule);
  }

  /** A boolean; false where it is not given. */
  flag(name: keyof Args & string): boolean {
    const value = this.#args[name] ?? false;
    if (typeof value !== 'boolean') throw this.error(name, 'true or false', kindOf(value));
    return value;
  }

  /** One of the keys of `codes`; gives its code. */
  choice(name: keyof Args & string, codes: Readonly<Record<string, number>>): number {
    const value = this.#args[name];
    const code = typeof value === 'string' && Object.hasOwn(codes, value) ? codes[value] : undefined;
    if (code === undefined) {
      const got = typeof value === 'string' ? `'${value}'` : kindOf(value);
      throw this.error(name, Object.keys(codes).join('|'), got);
    }
    return code;
  }

  /** Tensors of type f32. With `like`, as many as there and each of the same shape. */
  tensors(name: keyof Args & string, written: boolean, like?: readonly Tensor[]): Tensor[] {
    const list = this.#list(name, like?.length);
    return list.map((value, index) => {
      const tensor = this.#alive(`${name}[${index}]`, value, () => 'an f32 tensor');
      const shape = like?.[index]?.shape ?? tensor.shape;
      if (tensor.dtype !== 'f32' || !sameShape(tensor.shape, shape)) {
        throw this.error(`${name}[${index}]`, `f32 [${shape.join(', ')}]`, describe(tensor));
      }
      this.#seen.push({ name: `${name}[${index}]`, tensor, written });
      return tensor;
    });
  }

  /** Written bf16 tensors in the shapes of `like`, or null entries; undefined where the list is not given. */
  optionalBf16Tensors(name: keyof Args & string, like: readonly Tensor[]): (Tensor | null)[] | undefined {
    if (this.#args[name] === undefined) return undefined;
    return this.#list(name, like.length).map((value, index) => {
      if (value === null) return null;
      const tensor = this.#alive(`${name}[${index}]`, value, () => 'a bf16 tensor or null');
      const shape = like[index]!.shape;
      if (tensor.dtype !== 'bf16' || !sameShape(tensor.shape, shape)) {
        throw this.error(`${name}[${index}]`, `bf16 [${shape.join(', ')}] or null`, describe(tensor));
      }
      this.#seen.push({ name: `${name}[${index}]`, tensor, written: true });
      return tensor;
    });
  }

  /** No two tensors of the lists read so far share memory. In n log n, because models have many tensors. */
  checkListsDisjoint(): void {
    const blocks = new Map<object, SeenTensor[]>();
    for (const seen of this.#seen) {
      const block = blocks.get(seen.tensor.memory);
      if (block === undefined) blocks.set(seen.tensor.memory, [seen]);
      else block.push(seen);
    }
    for (const block of blocks.values()) {
      block.sort((a, b) => a.tensor.byteOffset - b.tensor.byteOffset);
      for (let i = 1; i < block.length; i++) {
        const [before, after] = [block[i - 1]!, block[i]!];
        if (overlap(before.tensor, after.tensor)) throw this.#sharedMemory(after.name, before.name);
      }
    }
  }

  error(name: string, expected: string, got: string): TypeError {
    return new TypeError(`${this.#operation}: "${name}" must be ${expected}, got ${got}`);
  }

  #list(name: string, length: number | undefined): unknown[] {
    const given = this.#args[name];
    if (!Array.isArray(given)) throw this.error(name, 'an array of tensors', kindOf(given));
    const list = Array.from(given);
    if (length !== undefined && list.length !== length) {
      throw this.error(name, `an array of ${length} tensors`, `${list.length}`);
    }
    return list;
  }

  #alive(name: string, value: unknown, expected: () => string): Tensor {
    if (!Tensor.is(value)) throw this.error(name, expected(), kindOf(value));
    if (value.disposed) {
      throw new NativeError('ERR_TENSOR_DISPOSED', `${this.#operation}: "${name}" was disposed`);
    }
    return value;
  }

  #tensor(
    name: string,
    dtypes: readonly DType[],
    shape: readonly Dimension[],
    written: boolean,
    inPlaceOf?: string,
  ): Tensor {
    const tensor = this.#alive(name, this.#args[name], () => `a tensor ${this.#pattern(dtypes, shape)}`);
    if (!dtypes.includes(tensor.dtype) || !this.#fits(tensor.shape, shape)) {
      throw this.error(name, this.#pattern(dtypes, shape), describe(tensor));
    }
    for (const other of this.#seen) {
      if (!(written || other.written) || !overlap(tensor, other.tensor)) continue;
      if (other.name !== inPlaceOf || !sameLocation(tensor, other.tensor))
        throw this.#sharedMemory(name, other.name);
    }
    this.#seen.push({ name, tensor, written });
    return tensor;
  }

  /** Whether the sizes agree with what is known; if so, unknown dimensions are known from here on. */
  #fits(sizes: readonly number[], shape: readonly Dimension[]): boolean {
    if (sizes.length !== shape.length) return false;
    for (let axis = 0; axis < shape.length; axis++) {
      const dimension = shape[axis]!;
      const known = typeof dimension === 'number' ? dimension : this.#sizes.get(dimension);
      if (known !== undefined && known !== sizes[axis]) return false;
    }
    for (let axis = 0; axis < shape.length; axis++) {
      const dimension = shape[axis]!;
      if (typeof dimension === 'string') this.#sizes.set(dimension, sizes[axis]!);
    }
    return true;
  }

  /** `f32|bf16 [N, K] with K = 64` */
  #pattern(dtypes: readonly DType[], shape: readonly Dimension[]): string {
    const known = shape.filter(dimension => this.#sizes.has(dimension as string));
    const values = [...new Set(known)].map(
      dimension => `${dimension} = ${this.#sizes.get(dimension as string)}`,
    );
    const text = `${dtypes.join('|')} [${shape.join(', ')}]`;
    return values.length === 0 ? text : `${text} with ${values.join(', ')}`;
  }

  #sharedMemory(name: string, other: string): TypeError {
    return new TypeError(`${this.#operation}: "${name}" must not share memory with "${other}"`);
  }
}

function overlap(a: Tensor, b: Tensor): boolean {
  return (
    a.memory === b.memory && a.byteOffset < b.byteOffset + b.bytes && b.byteOffset < a.byteOffset + a.bytes
  );
}

function sameLocation(a: Tensor, b: Tensor): boolean {
  return a.byteOffset === b.byteOffset && a.bytes === b.bytes;
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Tensor.is(value)) return `a tensor ${describe(value)}`;
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
