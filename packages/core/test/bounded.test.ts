import { expect, it } from 'vitest';
import { runWithin } from '../src/bounded.js';

const tooLong = (): Error => new Error('too long');

it('gives back what the task gives or throws', () => {
  expect(runWithin(5000, () => [1, 2], tooLong)).toEqual([1, 2]);
  const failure = new TypeError('from inside');
  expect(() =>
    runWithin(
      5000,
      () => {
        throw failure;
      },
      tooLong,
    ),
  ).toThrow(failure);
});

it('interrupts a loop and a regular expression that backtracks for ever', () => {
  expect(() =>
    runWithin(
      20,
      () => {
        for (;;);
      },
      tooLong,
    ),
  ).toThrow('too long');
  expect(() => runWithin(20, () => /^(a+)+$/.test(`${'a'.repeat(60)}b`), tooLong)).toThrow('too long');
  expect(runWithin(5000, () => 'works after it', tooLong)).toBe('works after it');
});

it('can be nested: the inner limit ends the inner task alone', () => {
  const inner = (): string => {
    try {
      return runWithin(
        20,
        () => {
          for (;;);
        },
        tooLong,
      );
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(runWithin(5000, () => [inner(), runWithin(5000, () => 'second', tooLong)], tooLong)).toEqual([
    'too long',
    'second',
  ]);
});
