/** RMSprop and AdamW with torch's semantics, over all of a rank's shards in one native call. */
import { adamw, rmsprop, Tensor, unscoped } from '@sralign/native';
import type { FlatParameter } from '../shard/flat.js';

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

export type MomentName = 'square_average' | 'first_moment' | 'second_moment';

/** What an optimizer remembers of one flat parameter. */
export interface Moment {
  readonly name: MomentName;
  readonly flat: FlatParameter;
  /** f32, in the shape of the flat's shard. */
  readonly tensor: Tensor;
}

/** What it remembers of every flat parameter. */
export const momentNames = (optimizer: OptimizerOptions['name']): readonly MomentName[] =>
  optimizer === 'rmsprop' ? ['square_average'] : ['first_moment', 'second_moment'];

export class Optimizer {
  /** Updates done so far. */
  steps = 0;
  readonly moments: readonly Moment[];

  /** @param flats what this rank updates; the other ranks have the rest */
  constructor(
    private readonly flats: readonly FlatParameter[],
    private readonly options: OptimizerOptions,
  ) {
    this.moments = unscoped(() =>
      momentNames(options.name).flatMap(name =>
        flats.map(flat => ({ name, flat, tensor: Tensor.zeros(flat.value.shape) })),
      ),
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
      parameters: this.flats.map(flat => flat.value),
      gradients: this.flats.map(flat => flat.gradient),
      computeWeights: this.flats.map(flat => flat.computeCopy),
      gradientScale,
    };
    const moments = this.moments.map(({ tensor }) => tensor);
    const first = moments.slice(0, this.flats.length);
    const second = moments.slice(this.flats.length);
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

  dispose(): void {
    for (const { tensor } of this.moments) tensor.dispose();
  }
}
