/** Choosing the next token from logits: greedy, temperature and top-p (nucleus). */

import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

export interface SamplingOptions {
  /** 0 is greedy. */
  readonly temperature: number;
  /** Keep the smallest set of tokens whose probability reaches this; 1 keeps all. */
  readonly topP: number;
  readonly seed: number;
}

/** Draws tokens; the same seed draws the same ones. */
export class TokenSampler {
  private readonly random: ReturnType<typeof xoroshiro128plus>;

  constructor(private readonly options: SamplingOptions) {
    this.random = xoroshiro128plus(options.seed);
  }

  /** @param logits f32 [V] */
  next(logits: Float32Array): number {
    const { temperature, topP } = this.options;
    if (temperature === 0) return argmax(logits);
    const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]!);
    const largest = logits[order[0]!]!;
    const weights = order.map(token => Math.exp((logits[token]! - largest) / temperature));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    let kept = 0;
    let keptWeight = 0;
    while (kept < order.length && (kept === 0 || keptWeight < topP * total)) keptWeight += weights[kept++]!;
    let draw = uniformFloat64(this.random) * keptWeight;
    for (let i = 0; i < kept; i++) {
      draw -= weights[i]!;
      if (draw < 0) return order[i]!;
    }
    return order[kept - 1]!;
  }
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
