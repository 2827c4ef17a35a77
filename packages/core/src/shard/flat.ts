/**
 * A flat parameter: tensors of a unit behind each other in one, which is cut into a shard for every rank.
 *
 * Every tensor starts at a multiple of ALIGNMENT elements and the whole is padded to a multiple of ALIGNMENT for every
 * shard. The places do not depend on the number of shards, only the padding at the end does; padding holds zeros.
 */
import { cast, Tensor, unscoped } from '@sralign/native';
import type { Parameter } from '../autograd/parameter.js';

/** Elements; 256 bytes in f32, so that kernels find every tensor and every shard aligned. */
export const ALIGNMENT = 64;

/** How the values are there while a pass is inside the unit: f32, rounded to bf16 for products, or both. */
export type Gathered = 'f32' | 'bf16' | 'both';

export interface FlatEntry {
  readonly parameter: Parameter;
  /** Element of the flat where the tensor starts. */
  readonly offset: number;
}

export interface FlatLayout {
  readonly entries: readonly FlatEntry[];
  /** Elements, padding included: a multiple of the number of shards. */
  readonly size: number;
}

export function flatLayout(parameters: readonly Parameter[], shards: number): FlatLayout {
  let end = 0;
  const entries = parameters.map(parameter => {
    const offset = end;
    end = roundUp(offset + parameter.size, ALIGNMENT);
    return { parameter, offset };
  });
  return { entries, size: roundUp(end, ALIGNMENT * shards) };
}

export const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/** This rank's part of a flat parameter, for as long as the model lives. */
export class FlatParameter {
  /** f32 [size / shards]. */
  readonly value: Tensor;
  /** bf16 [size / shards]: `value` rounded; null where nothing computes in bf16. */
  readonly computeCopy: Tensor | null;
  private gradientShard: Tensor | null = null;

  /**
   * @param name unique in the model
   * @param initial the tensors of the layout's entries, f32; they stay the caller's. Null leaves zeros
   * @param shard which of the `shards` parts this is
   * @param value where the shard is to lie; a tensor of its own by default
   */
  constructor(
    readonly name: string,
    readonly layout: FlatLayout,
    readonly gathered: Gathered,
    readonly shard: number,
    readonly shards: number,
    initial: readonly (Tensor | null)[],
    value = unscoped(() => Tensor.empty([layout.size / shards])),
  ) {
    this.value = value;
    value.zero();
    for (const [index, { offset, parameter }] of layout.entries.entries()) {
      const part = this.overlap(offset, offset + parameter.size);
      const tensor = initial[index]!;
      if (part === null || tensor === null) continue;
      using flat = tensor.reshape([parameter.size]);
      using source = flat.rows(part.start - offset, part.end - offset);
      using target = value.rows(part.start - this.start, part.end - this.start);
      target.copyFrom(source);
    }
    this.computeCopy =
      gathered === 'f32' ? null : unscoped(() => Tensor.empty([layout.size / shards], 'bf16'));
    if (this.computeCopy !== null) cast({ x: value, out: this.computeCopy });
  }

  /** Element of the flat where this shard starts. */
  get start(): number {
    return this.shard * this.value.size;
  }

  /** The part of [start, end) of the flat that lies in this shard, or null. */
  overlap(start: number, end: number): { readonly start: number; readonly end: number } | null {
    const first = Math.max(start, this.start);
    const last = Math.min(end, this.start + this.value.size);
    return first < last ? { start: first, end: last } : null;
  }

  /** f32 [size / shards]: the gradient summed over ranks; made of zeros on first use. */
  get gradient(): Tensor {
    this.gradientShard ??= unscoped(() => Tensor.zeros(this.value.shape));
    return this.gradientShard;
  }

  zeroGradient(): void {
    this.gradientShard?.zero();
  }

  dispose(): void {
    this.value.dispose();
    this.computeCopy?.dispose();
    this.gradientShard?.dispose();
  }
}
