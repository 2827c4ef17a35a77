/** Rotary tables: cosines and sines of position * frequency, computed in double, kept in f32. */
import { Tensor } from '@sralign/native';
import type { RotarySpec } from './spec.js';

/** Rotation frequencies in radians per position, [dimensions / 2]. */
export function rotaryFrequencies(spec: RotarySpec): Float64Array {
  const half = spec.dimensions / 2;
  const frequencies = new Float64Array(half);
  for (let i = 0; i < half; i++) {
    const base = spec.theta ** (-(2 * i) / spec.dimensions) / spec.linearFactor;
    frequencies[i] = spec.llama3 === null ? base : llama3Frequency(base, spec.llama3);
  }
  return frequencies;
}

/** Llama 3.1's rule: long wavelengths are slowed by `factor`, short ones kept, those between interpolated. */
function llama3Frequency(frequency: number, rule: NonNullable<RotarySpec['llama3']>): number {
  const rotations = (rule.originalMaxPositions * frequency) / (2 * Math.PI);
  const smooth = (rotations - rule.lowFrequencyFactor) / (rule.highFrequencyFactor - rule.lowFrequencyFactor);
  const kept = Math.min(1, Math.max(0, smooth));
  return kept * frequency + ((1 - kept) * frequency) / rule.factor;
}

/** Tables f32 [positions, dimensions / 2]; the caller owns them. */
export function rotaryTables(spec: RotarySpec, positions: number): { cosines: Tensor; sines: Tensor } {
  const frequencies = rotaryFrequencies(spec);
  const half = frequencies.length;
  const cosines = new Float32Array(positions * half);
  const sines = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * frequencies[i]!;
      cosines[position * half + i] = Math.cos(angle);
      sines[position * half + i] = Math.sin(angle);
    }
  }
  const shape = [positions, half];
  return { cosines: Tensor.from(cosines, shape), sines: Tensor.from(sines, shape) };
}
