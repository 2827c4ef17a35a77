import { memory, Tensor } from '@sralign/native';
import { describe, expect, it } from 'vitest';
import { Parameter } from '../../src/autograd/parameter.js';
import type { Gathered } from '../../src/shard/flat.js';
import { ParameterUnit, SHARDINGS, type Sharding } from '../../src/shard/unit.js';
import { fakeRanks } from './ranks.js';

/** A unit of odd sizes: a matrix, a bias, a table that products read too. */
const SHAPES: readonly { shape: number[]; kind: Gathered }[] = [
  { shape: [7, 13], kind: 'bf16' },
  { shape: [13], kind: 'f32' },
  { shape: [101, 3], kind: 'both' },
];

const numbers = (size: number, phase: number): Float32Array =>
  Float32Array.from({ length: size }, (_, i) => Math.sin(i + phase));

function makeUnits(worldSize: number, sharding: Sharding, rounded: boolean): ParameterUnit[] {
  return fakeRanks(worldSize).map(communicator => {
    const unit = new ParameterUnit('unit', { communicator, sharding });
    const parts = SHAPES.map(({ shape, kind }, index) => {
      const parameter = new Parameter(`parameter ${index}`, shape, [], unit);
      const initial = Tensor.from(numbers(parameter.size, index), shape);
      return { parameter, initial, gathered: rounded ? kind : ('f32' as const) };
    });
    unit.fill(parts);
    for (const { initial } of parts) initial.dispose();
    return unit;
  });
}

const bf16 = (values: Float32Array): Float32Array => {
  using tensor = Tensor.from(values, [values.length], 'bf16');
  return tensor.toFloat32Array();
};

describe.each(SHARDINGS.flatMap(sharding => [1, 2, 3, 4].map(ranks => ({ sharding, ranks }))))(
  '$sharding over $ranks ranks',
  ({ sharding, ranks }) => {
    it.each([false, true])('brings every value back (bf16: %s)', rounded => {
      const units = makeUnits(ranks, sharding, rounded);
      for (const unit of units) unit.gather();
      for (const unit of units) {
        unit.acquire();
        for (const [index, parameter] of unit.parameters.entries()) {
          const values = numbers(parameter.size, index);
          const { kind } = SHAPES[index]!;
          if (!rounded || kind !== 'bf16') expect(parameter.value.toFloat32Array()).toEqual(values);
          if (rounded && kind !== 'f32') expect(parameter.compute.toFloat32Array()).toEqual(bf16(values));
          expect(parameter.compute.shape).toEqual(parameter.shape);
        }
        unit.release();
      }
      for (const unit of units) unit.dispose();
    });

    it('sums gradients, and gives the optimizer the sum of its own shard', () => {
      const units = makeUnits(ranks, sharding, false);
      for (const [rank, unit] of units.entries()) {
        for (const parameter of unit.parameters) {
          using values = Tensor.from(numbers(parameter.size, rank), parameter.shape);
          parameter.gradient.copyFrom(values);
        }
      }
      const finishes = units.map(unit => unit.reduceGradients());
      for (const finish of finishes) finish();
      const [flat] = units[0]!.flats;
      const whole = units.flatMap(unit => [...unit.flats[0]!.gradient.toFloat32Array()]);
      for (const { parameter, offset } of flat!.layout.entries) {
        for (const i of [0, parameter.size >> 1, parameter.size - 1]) {
          const expected = units.reduce((sum, _, rank) => sum + Math.sin(i + rank), 0);
          expect(whole[offset + i]).toBeCloseTo(expected, 5);
        }
      }
      for (const unit of units) unit.dispose();
    });

    it('sees new values after an update', () => {
      const units = makeUnits(ranks, sharding, false);
      for (const unit of units) unit.gather();
      for (const unit of units) unit.acquire();
      for (const unit of units) {
        unit.release();
        for (const flat of unit.flats) flat.value.zero();
        unit.invalidate();
      }
      for (const unit of units) unit.gather();
      for (const unit of units) {
        unit.acquire();
        for (const { value } of unit.parameters)
          expect(value.toFloat32Array().every(v => v === 0)).toBe(true);
        unit.release();
      }
      for (const unit of units) unit.dispose();
    });
  },
);

it('a shard takes its part of the memory, and what was gathered is freed', () => {
  const bytesOf = (ranks: number): number => {
    const before = memory().liveBytes;
    const units = makeUnits(ranks, 'full', false);
    const kept = (memory().liveBytes - before) / ranks;
    for (const unit of units) unit.gather();
    for (const unit of units) unit.acquire();
    const whole = 4 * units[0]!.flats[0]!.layout.size;
    if (ranks > 1) expect((memory().liveBytes - before) / ranks).toBe(kept + whole);
    for (const unit of units) unit.release();
    expect((memory().liveBytes - before) / ranks).toBe(kept);
    for (const unit of units) unit.dispose();
    expect(memory().liveBytes).toBe(before);
    return kept;
  };
  const whole = bytesOf(1);
  // Padding: at most 64 elements for every shard.
  for (const ranks of [2, 3, 4]) expect(bytesOf(ranks) - whole / ranks).toBeLessThanOrEqual(256);
});

it('says who was used outside its unit', () => {
  const [unit] = makeUnits(2, 'full', false);
  expect(() => unit!.parameters[0]!.value).toThrow('parameter 0 was used outside its unit');
  unit!.dispose();
});
