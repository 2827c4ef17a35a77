/** Collects, per quantity, the largest error against the expected numbers. */

export interface QuantityReport {
  readonly name: string;
  readonly maxAbsoluteError: number;
  /** Largest |got - expected| / scale, where the scale is the tensor's largest magnitude for `tensor` quantities. */
  readonly maxRelativeError: number;
  readonly tolerance: string;
  readonly passed: boolean;
  /** Of `tensor` quantities, the name of the one with the largest relative error; null where there is no error. */
  readonly worstTensor: string | null;
}

export interface VerifyReport {
  readonly case: string;
  readonly dtype: 'f32' | 'bf16';
  readonly quantities: readonly QuantityReport[];
  readonly passed: boolean;
}

/** |got - expected| <= absolute + relative * |expected|, value by value. */
export interface ValueTolerance {
  readonly absolute: number;
  readonly relative: number;
}

/** Compares numbers one by one. */
export function compareValues(
  name: string,
  got: ArrayLike<number>,
  expected: ArrayLike<number>,
  { absolute, relative }: ValueTolerance,
): QuantityReport {
  let maxAbsoluteError = 0;
  let maxRelativeError = 0;
  let passed = got.length === expected.length;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(got[i]! - expected[i]!);
    if (!(error <= absolute + relative * Math.abs(expected[i]!))) passed = false;
    maxAbsoluteError = worst(maxAbsoluteError, error);
    maxRelativeError = worst(maxRelativeError, error / Math.max(Math.abs(expected[i]!), Number.MIN_VALUE));
  }
  const parts = [
    ...(absolute === 0 ? [] : [short(absolute)]),
    ...(relative === 0 ? [] : [`${short(relative)} |x|`]),
  ];
  return {
    ...{ name, maxAbsoluteError, maxRelativeError, passed },
    tolerance: parts.join(' + ') || '0',
    worstTensor: null,
  };
}

/** Compares tensors by ||got - expected|| / ||expected||, and reports the worst of them. */
export class TensorComparison {
  private maxAbsoluteError = 0;
  private maxRelativeError = 0;
  private worstTensor = '';

  add(tensor: string, got: Float32Array, expected: Float32Array): void {
    let squaredError = 0;
    let squaredNorm = 0;
    for (let i = 0; i < expected.length; i++) {
      const error = got[i]! - expected[i]!;
      squaredError += error * error;
      squaredNorm += expected[i]! * expected[i]!;
      this.maxAbsoluteError = worst(this.maxAbsoluteError, Math.abs(error));
    }
    const relative = Math.sqrt(squaredError / Math.max(squaredNorm, Number.MIN_VALUE));
    if (!(relative <= this.maxRelativeError)) this.worstTensor = tensor;
    this.maxRelativeError = worst(this.maxRelativeError, squaredError === 0 ? 0 : relative);
  }

  report(name: string, tolerance: number): QuantityReport {
    return {
      name,
      maxAbsoluteError: this.maxAbsoluteError,
      maxRelativeError: this.maxRelativeError,
      tolerance: `${short(tolerance)} of norm`,
      passed: this.maxRelativeError <= tolerance,
      worstTensor: this.worstTensor === '' ? null : this.worstTensor,
    };
  }
}

/** max that keeps NaN. */
const worst = (a: number, b: number): number =>
  Number.isNaN(a) || Number.isNaN(b) ? Number.NaN : Math.max(a, b);

/** 0.0001 as 1e-4. */
const short = (value: number): string => (value < 0.01 ? value.toExponential() : String(value));
