/** Python's indexing: from the end for negative numbers, in code points for texts. */
import { spendOnNewItems, spendOnNewText } from './budget.js';
import { TemplateFailure } from './errors.js';
import { hasPairs, Range, Tuple, type Value } from './values.js';

export interface SliceBounds {
  readonly start: bigint | null;
  readonly stop: bigint | null;
  readonly step: bigint | null;
}

/** What stands at `index`; undefined (JavaScript's) beyond the ends or where the value has no order. */
export function itemAt(value: Value, index: bigint): Value {
  const items = sequenceOf(value);
  if (items === null) return undefined;
  const position = Number(index < 0n ? index + BigInt(items.length) : index);
  return position < 0 || position >= items.length ? undefined : items.at(position);
}

/** value[start:stop:step]; undefined (JavaScript's) where the value has no order. */
export function sliceOf(value: Value, bounds: SliceBounds): Value {
  const items = sequenceOf(value);
  if (items === null) return undefined;
  const step = bounds.step ?? 1n;
  if (step === 0n) throw new TemplateFailure('slice step cannot be zero');
  const length = BigInt(items.length);
  const [low, high] = step > 0n ? [0n, length] : [-1n, length - 1n];
  const clamp = (index: bigint): bigint => {
    const position = index < 0n ? index + length : index;
    return position < low ? low : position > high ? high : position;
  };
  const start = bounds.start === null ? (step > 0n ? low : high) : clamp(bounds.start);
  const stop = bounds.stop === null ? (step > 0n ? high : low) : clamp(bounds.stop);
  const range = new Range(start, stop, step);
  if (value instanceof Range) {
    const at = (position: bigint): bigint => value.start + position * value.step;
    return new Range(at(start), at(stop), value.step * step);
  }
  if (typeof value === 'string' && step === 1n && !hasPairs(value))
    return value.slice(Number(start), Number(stop));
  if (typeof value === 'string') spendOnNewText(range.length);
  else spendOnNewItems(range.length);
  const chosen = Array.from({ length: range.length }, (_, index) => items.at(Number(range.at(index))));
  if (typeof value === 'string') return chosen.join('');
  return value instanceof Tuple ? new Tuple(chosen) : chosen;
}

interface Sequence {
  readonly length: number;
  at(index: number): Value;
}

function sequenceOf(value: Value): Sequence | null {
  if (typeof value === 'string') return hasPairs(value) ? Array.from(value) : value;
  if (Array.isArray(value) || value instanceof Range) return value;
  return value instanceof Tuple ? value.items : null;
}
