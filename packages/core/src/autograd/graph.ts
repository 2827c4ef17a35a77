/**
 * A small tape over coarse operations, each with its hand-written backward pass (autograd/ops.ts).
 *
 * Recording, an operation appends a node; `backward` walks the nodes in reverse. Accumulation rule: gradients of
 * parameters add to what is there; the first gradient of an activation overwrites, further ones add.
 *
 * Memory: a node names what its backward pass reads. A value is freed when the last pass that reads it has run, and
 * at the end of its `block` where no pass will. With checkpointing a block keeps only its input and output, and
 * computes the rest again for its backward pass. Not recording, a block keeps its output alone.
 */
import { add, type DType, Scope, Tensor } from '@sralign/native';

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
  /** Freed when no backward pass reads it any more; its shape and type stay known. */
  readonly value: Tensor;
  /** Backward passes on the tape that read `value`. */
  private readers = 0;
  private gradientBuffer: Gradient | null = null;

  constructor(value: Tensor) {
    this.value = value;
  }

  /** A backward pass will read the value. */
  addReader(): void {
    this.readers++;
  }

  /** A backward pass has read the value; the last one frees it. */
  removeReader(): void {
    this.readers--;
    this.freeUnlessRead();
  }

  /** Frees the value where no backward pass on the tape reads it. */
  freeUnlessRead(): void {
    if (this.readers === 0) this.value.dispose();
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

  /** Moves `source`'s gradient here, as the first of this variable. */
  takeGradient(source: Variable): void {
    if (this.gradientBuffer !== null) throw new Error('The variable has a gradient already.');
    this.gradientBuffer = source.gradientBuffer;
    source.gradientBuffer = null;
  }

  /** Lets `rewrite` change the gradient in place; the buffer is copied first where other variables refer to it. */
  rewriteGradient(rewrite: (gradient: Tensor) => void): void {
    this.ownGradient();
    rewrite(this.gradientBuffer!.tensor);
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

/**
 * A backward pass: adds to the gradients of its inputs and parameters.
 *
 * @param dOut gradient of the operation's output
 * @param releaseSaved gives up what was saved before the pass is over, so that its memory can take the next gradient
 */
type Backward = (dOut: Tensor, releaseSaved: () => void) => void;

interface Node {
  readonly output: Variable;
  readonly saved: readonly (Variable | Tensor)[];
  readonly backward: Backward;
}

/** What else happens when a backward pass gets to this place. */
interface Turn {
  readonly run: () => void;
}

/**
 * A unit of parameters at its place in a pass through the model: told when the pass gets there and when it has gone on,
 * so that the parameters are there just then (shard/sequence.ts).
 */
export interface UnitVisit {
  /** @param recording a backward pass will follow */
  enterForward(recording: boolean): void;
  leaveForward(recording: boolean): void;
  enterBackward(): void;
  leaveBackward(): void;
}

/** A stretch of a model, written in operations on the graph it is given. */
type Body = (graph: Graph, x: Variable) => Variable;

/**
 * `inference`: no gradient (reference, augmented view, generation). `recording`: every value a backward pass reads is
 * kept. `checkpointing`: recording, but the inside of blocks is computed a second time instead of kept; the gradients
 * are the same bit for bit.
 */
export type GraphMode = 'inference' | 'recording' | 'checkpointing';

export class Graph implements Disposable {
  private readonly nodes: (Node | Turn)[] = [];
  private readonly entered: UnitVisit[] = [];

  constructor(private readonly mode: GraphMode) {}

  /** Runs a stretch of the model with the parameters of a unit, and again with them in the backward pass. */
  within<T>(visit: UnitVisit, body: () => T): T {
    this.enter(visit);
    const result = body();
    this.entered.pop();
    visit.leaveForward(this.recording);
    if (this.recording) this.nodes.push({ run: () => visit.enterBackward() });
    return result;
  }

  /** Like `within`, up to the backward pass of everything, or to the end of a graph that does not record. */
  enter(visit: UnitVisit): void {
    visit.enterForward(this.recording);
    if (this.recording) this.nodes.push({ run: () => visit.leaveBackward() });
    this.entered.push(visit);
  }

  /**
   * Registers an operation's output and how its gradient flows back.
   *
   * @param saved what the backward pass reads: variables for their values, and tensors that belong to this node
   */
  record(output: Variable, saved: readonly (Variable | Tensor)[], backward: Backward): Variable {
    if (this.mode === 'inference') return output;
    for (const item of saved) if (item instanceof Variable) item.addReader();
    this.nodes.push({ output, saved, backward });
    return output;
  }

  /**
   * A stretch of the model whose input and intermediate values nobody outside reads. Blocks do not contain blocks.
   *
   * @param body must compute the same every time it is called
   */
  block(input: Variable, body: Body): Variable {
    if (this.mode === 'recording') return this.recordBlock(input, body);
    const output = outputOf(input, body);
    if (this.mode === 'inference') {
      input.value.dispose();
      return output;
    }
    return this.record(output, [input], () => {
      const inside = new Graph('recording');
      const again = inside.recordBlock(input, body);
      again.freeUnlessRead();
      // Moved, because a shared buffer would be copied before it is added to.
      again.takeGradient(output);
      inside.backward();
    });
  }

  /** Runs every backward pass, last operation first, and empties the tape. The outputs' gradients must be set. */
  backward(): void {
    for (let visit = this.entered.pop(); visit !== undefined; visit = this.entered.pop()) {
      visit.leaveForward(true);
      visit.enterBackward();
    }
    for (let node = this.nodes.pop(); node !== undefined; node = this.nodes.pop()) {
      if ('run' in node) {
        node.run();
        continue;
      }
      const { output, backward } = node;
      // Everything but this node that reads it was recorded later, and is done.
      output.freeUnlessRead();
      const saved = [...node.saved];
      const releaseSaved = (): void => {
        for (const item of saved.splice(0)) {
          if (item instanceof Variable) item.removeReader();
          else item.dispose();
        }
      };
      if (output.gradient !== null) backward(output.gradient, releaseSaved);
      releaseSaved();
      output.releaseGradient();
    }
  }

  /** Leaves the units that were entered and not left. */
  [Symbol.dispose](): void {
    for (let visit = this.entered.pop(); visit !== undefined; visit = this.entered.pop()) {
      visit.leaveForward(false);
    }
  }

  private recordBlock(input: Variable, body: Body): Variable {
    const start = this.nodes.length;
    const result = body(this, input);
    for (const node of this.nodes.slice(start)) {
      if ('output' in node && node.output !== result) node.output.freeUnlessRead();
    }
    return result;
  }

  private get recording(): boolean {
    return this.mode !== 'inference';
  }
}

/** Runs a block without recording it: nothing but the input and the output is left. */
function outputOf(input: Variable, body: Body): Variable {
  using scope = new Scope();
  const output = body(new Graph('inference'), input);
  scope.keep(output.value);
  return output;
}
