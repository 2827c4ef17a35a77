/** What models are made of: named tensors whose memory belongs to a unit (shard/unit.ts). */
import type { Tensor } from '@sralign/native';

export interface ParameterSource {
  /** Tensor name in the Hugging Face checkpoint. */
  readonly name: string;
  /** Rows [start, end) of the fused tensor. */
  readonly start: number;
  readonly end: number;
}

/** The tensors of a parameter while it is there, all in its shape. */
export interface ParameterTensors {
  /** f32; null where only the rounded copy is there. */
  readonly value: Tensor | null;
  /** What products read: bf16 when the step computes in bf16, otherwise `value`; null for what no product reads. */
  readonly compute: Tensor | null;
}

/** Who has the memory of a parameter. */
export interface ParameterOwner {
  /** f32, in the shape of the parameter; made of zeros on first use. */
  gradientOf(parameter: Parameter): Tensor;
}

/**
 * A trainable tensor. On several ranks its values are there only while a pass is inside its unit (`Graph.within`).
 */
export class Parameter {
  readonly size: number;
  private tensors: ParameterTensors | null = null;

  constructor(
    readonly name: string,
    readonly shape: readonly number[],
    /** Where the rows come from in the Hugging Face checkpoint; several when matrices are kept fused. */
    readonly sources: readonly ParameterSource[],
    private readonly owner: ParameterOwner,
  ) {
    this.size = shape.reduce((product, length) => product * length, 1);
  }

  /** f32. */
  get value(): Tensor {
    return this.present(this.tensors?.value);
  }

  /** What linear operations read: the bf16 copy when there is one. */
  get compute(): Tensor {
    return this.present(this.tensors?.compute);
  }

  /** f32, the shape of `value`; made of zeros on first use. */
  get gradient(): Tensor {
    return this.owner.gradientOf(this);
  }

  /** Says where the values are now; null: nowhere. The tensors stay the caller's. */
  bind(tensors: ParameterTensors | null): void {
    this.tensors = tensors;
  }

  private present(tensor: Tensor | null | undefined): Tensor {
    if (tensor == null) throw new Error(`The parameter ${this.name} was used outside its unit.`);
    return tensor;
  }
}
