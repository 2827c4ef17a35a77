/** RMSprop and AdamW with torch's semantics, over all parameters in one native call. */
import { adamw, rmsprop, Tensor, unscoped } from '@sralign/native';
import type { Parameter } from '../autograd/graph.js';

export interface OptimizerOptions {
  readonly name: 'rmsprop' | 'adamw';
  /** RMSprop: smoothing of the squared gradients. */
  readonly alpha: number;
  /** AdamW: decay of the first and second moments. */
  readonly beta1: number;
  readonly beta2: number;
  /** Added to the root of the second moment. */
  readonly epsilon: number;
  /** RMSprop adds it to the gradient; AdamW decouples it. */
  readonly weightDecay: number;
}

/** Optimizer state that a checkpoint stores: named f32 tensors in the shapes of the parameters. */
export interface OptimizerState {
  readonly name: string;
  readonly tensor: Tensor;
}

export class Optimizer {
  /** Updates done so far. */
  steps = 0;
  private readonly moments: readonly (readonly Tensor[])[];
  private readonly momentNames: readonly string[];

  constructor(
    private readonly parameters: readonly Parameter[],
    private readonly options: OptimizerOptions,
  ) {
    this.momentNames = options.name === 'rmsprop' ? ['square_average'] : ['first_moment', 'second_moment'];
    this.moments = unscoped(() =>
      this.momentNames.map(() => parameters.map(parameter => Tensor.zeros(parameter.value.shape))),
    );
  }

  /**
   * One update from the gradients; refreshes the bf16 copies in the same pass.
   *
   * @param gradientScale f32 [1], multiplies every gradient (the clipping factor)
   */
  step(learningRate: number, gradientScale: Tensor): void {
    this.steps++;
    const { alpha, beta1, beta2, epsilon, weightDecay } = this.options;
    const tensors = {
      parameters: this.parameters.map(parameter => parameter.value),
      gradients: this.parameters.map(parameter => parameter.gradient),
      computeWeights: this.parameters.map(parameter => parameter.computeCopy),
      gradientScale,
    };
    const [first, second] = this.moments as [Tensor[], Tensor[]];
    if (this.options.name === 'rmsprop') {
      rmsprop({
        ...tensors,
        squareAverages: first,
        learningRate,
        alpha,
        epsilon,
        weightDecay,
      });
    } else {
      adamw({
        ...tensors,
        firstMoments: first,
        secondMoments: second,
        learningRate,
        beta1,
        beta2,
        epsilon,
        weightDecay,
        step: this.steps,
      });
    }
  }

  /** The state tensors under names like `square_average.<parameter>`. */
  *state(): Generator<OptimizerState> {
    for (const [kind, name] of this.momentNames.entries()) {
      for (const [index, parameter] of this.parameters.entries()) {
        yield { name: `${name}.${parameter.name}`, tensor: this.moments[kind]![index]! };
      }
    }
  }

  dispose(): void {
    for (const tensors of this.moments) for (const tensor of tensors) tensor.dispose();
  }
}
