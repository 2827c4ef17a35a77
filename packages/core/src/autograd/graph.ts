/**
 * A small tape over coarse operations, each with its hand-written backward pass (autograd/ops.ts).
 *
 * Recording, an operation appends a node; `backward` walks the nodes in reverse. Accumulation rule: gradients of
 * parameters add to what is there; the first gradient of an activation overwrites, further ones add. A node's values
 * are freed as soon as its backward pass has run: nothing recorded earlier can refer to them. Not recording, the
 * tensors made inside a `block` are freed when it returns.
 */
import { add, type DType, Scope, Tensor, unscoped } from '@sralign/native';

/** A trainable tensor: f32 master values, their gradient and, for bf16 compute, the rounded copy. */
export class Parameter {
  readonly name: string;
  /** f32. */
  readonly value: Tensor;
  /** Where the rows of `value` come from in the Hugging Face checkpoint; several when matrices are kept fused. */
  readonly sources: readonly ParameterSource[];
  /** bf16 copy that the products use, or null when the step computes in f32. */
  readonly computeCopy: Tensor | null;
  private gradientTensor: Tensor | null = null;

  constructor(name: string, value: Tensor, sources: readonly ParameterSource[], computeCopy: Tensor | null) {
    this.name = name;
    this.value = value;
    this.sources = sources;
    this.computeCopy = computeCopy;
  }

  /** What linear operations read: the bf16 copy when there is one. */
  get compute(): Tensor {
    return this.computeCopy ?? this.value;
  }

  /** f32, the shape of `value`; made of zeros on first use. */
  get gradient(): Tensor {
    this.gradientTensor ??= unscoped(() => Tensor.zeros(this.value.shape));
    return this.gradientTensor;
  }

  zeroGradient(): void {
    this.gradientTensor?.zero();
  }

  dispose(): void {
    this.value.dispose();
    this.computeCopy?.dispose();
    this.gradientTensor?.dispose();
  }
}

export interface ParameterSource {
  /** Tensor name in the Hugging Face checkpoint. */
  readonly name: string;
  /** Rows [start, end) of the fused tensor. */
  readonly start: number;
  readonly end: number;
}

/** A gradient buffer that several variables may refer to; it is copied before a write while it is shared. */
class Gradient {
  references = 1;
  constructor(readonly tensor: Tensor) {}

  release(): void {
    this.references--;
    if (this.references === 0) this.tensor.dispose();
  }
}

/** An activation and, during the backward pass, its gradient. */
export class Variable {
  readonly value: Tensor;
  private gradientBuffer: Gradient | null = null;

  constructor(value: Tensor) {
    this.value = value;
  }

  /** The gradient collected so far, or null. */
  get gradient(): Tensor | null {
    return this.gradientBuffer?.tensor ?? null;
  }

  /**
   * Where a backward pass writes its contribution: `write(target, accumulate)` must overwrite, or add where
   * `accumulate` is set. Only f32 gradients are ever added to.
   */
  contribute(dtype: DType, write: (target: Tensor, accumulate: boolean) => void): void {
    if (this.gradientBuffer === null) {
      this.gradientBuffer = new Gradient(Tensor.empty(this.value.shape, dtype));
      write(this.gradientBuffer.tensor, false);
      return;
    }
    this.ownGradient();
    write(this.gradientBuffer.tensor, true);
  }

  /** Adds `source`'s gradient buffer to this variable, without a copy where this is its first. */
  contributeFrom(source: Variable): void {
    const buffer = source.gradientBuffer!;
    if (this.gradientBuffer === null) {
      buffer.references++;
      this.gradientBuffer = buffer;
      return;
    }
    this.ownGradient();
    add({ a: this.gradientBuffer.tensor, b: buffer.tensor, out: this.gradientBuffer.tensor });
  }

  /** Drops the gradient. */
  releaseGradient(): void {
    this.gradientBuffer?.release();
    this.gradientBuffer = null;
  }

  private ownGradient(): void {
    const buffer = this.gradientBuffer!;
    if (buffer.references === 1) return;
    const copy = Tensor.empty(buffer.tensor.shape, buffer.tensor.dtype);
    copy.copyFrom(buffer.tensor);
    buffer.release();
    this.gradientBuffer = new Gradient(copy);
  }
}

interface Node {
  readonly output: Variable;
  /** Tensors only this node's backward pass needs. */
  readonly saved: readonly Tensor[];
  readonly backward: (dOut: Tensor) => void;
}

export class Graph {
  readonly recording: boolean;
  private readonly nodes: Node[] = [];

  /** @param recording false for forward passes without gradient (reference, augmented view, generation) */
  constructor(recording: boolean) {
    this.recording = recording;
  }

  /** Registers an operation's output and how its gradient flows back. */
  record(output: Variable, saved: readonly Tensor[], backward: (dOut: Tensor) => void): Variable {
    if (this.recording) this.nodes.push({ output, saved, backward });
    return output;
  }

  /**
   * A stretch of the model whose input and intermediate tensors nobody outside needs: not recording, all of them but
   * the output are freed.
   */
  block(input: Variable, body: (x: Variable) => Variable): Variable {
    if (this.recording) return body(input);
    using scope = new Scope();
    const output = body(input);
    scope.keep(output.value);
    input.value.dispose();
    return output;
  }

  /** Frees a value that no backward pass reads; `variable` keeps its shape for the gradient. */
  consume(variable: Variable): void {
    variable.value.dispose();
  }

  /** Runs every backward pass, last operation first, and empties the tape. The outputs' gradients must be set. */
  backward(): void {
    for (let node = this.nodes.pop(); node !== undefined; node = this.nodes.pop()) {
      const dOut = node.output.gradient;
      if (dOut !== null) node.backward(dOut);
      node.output.releaseGradient();
      node.output.value.dispose();
      for (const tensor of node.saved) tensor.dispose();
    }
  }
}
