import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as native from '../lib/index.js';
import { l2Norm, NativeError, Scope, Tensor } from '../lib/index.js';
import { goodCalls } from './calls.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

type Args = Record<string, unknown>;

const optional = new Set([
  ...['bias', 'dBias', 'accumulate', 'epsilon', 'inverse', 'window', 'computeWeights'],
]);
/** Operations whose first tensor may have any shape; a later argument is then blamed. */
const anyShape = new Set(['add', 'cast', 'scale', 'fillNormal']);

function disposed(tensor: Tensor): Tensor {
  const other = Tensor.empty(tensor.shape, tensor.dtype);
  other.dispose();
  return other;
}

function errorOf(run: (args: never) => unknown, args: unknown): Error {
  try {
    run(args as never);
  } catch (error) {
    return error as Error;
  }
  throw new Error('no error was thrown');
}

test('every operation is in the table', () => {
  const operations = Object.entries(native)
    .filter(([name, value]) => typeof value === 'function' && /^[a-z]/.test(name))
    .map(([name]) => name);
  const others = [
    'closeMpi',
    'cpuInfo',
    'cudaInfo',
    'currentDevice',
    'isMpiBuilt',
    'lockFile',
    'memory',
    'ncclId',
    'openMpi',
    'reserveBytes',
    'resetPeakMemory',
    'setThreads',
    'shareText',
    'synchronize',
    'takeSpans',
    'threads',
    'unscoped',
    'useDevice',
  ];
  expect(operations.filter(name => !others.includes(name)).sort()).toEqual(Object.keys(goodCalls).sort());
});

describe.each(Object.entries(goodCalls))('%s', (operation, { run, args, outputs }) => {
  const expectTypeError = (spoiled: unknown, name: string) => {
    const error = errorOf(run, spoiled);
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(new RegExp(`^${operation}: .*"${name}`));
  };

  test('the correct call works', () => {
    run(args() as never);
  });

  test('no arguments', () => {
    for (const nothing of [undefined, null, 3]) expect(errorOf(run, nothing)).toBeInstanceOf(TypeError);
  });

  test('something else in place of an argument', () => {
    for (const name of Object.keys(args())) {
      for (const wrong of [undefined, null, 'x', {}, 7n]) {
        if (wrong === undefined && optional.has(name)) continue;
        if (name === 'heads' && typeof wrong === 'object' && wrong !== null) continue;
        if ((name === 'accumulate' || name === 'inverse') && wrong === null) continue;
        const error = errorOf(run, { ...args(), [name]: wrong });
        expect(error).toBeInstanceOf(TypeError);
        expect(error.message).toContain(`${operation}: `);
        // With augmented log-probs on one side only, the other side is named.
        if (!(name.startsWith('augmented') && wrong === undefined))
          expect(error.message).toContain(`"${name}`);
      }
    }
  });

  test('a disposed tensor', () => {
    for (const [name, value] of Object.entries(args())) {
      const spoiled = Array.isArray(value)
        ? value.map((tensor, index) => (index === 1 ? disposed(tensor) : tensor))
        : value instanceof Tensor
          ? disposed(value)
          : undefined;
      if (spoiled === undefined) continue;
      const error = errorOf(run, { ...args(), [name]: spoiled });
      expect(error).toBeInstanceOf(NativeError);
      expect((error as NativeError).code).toBe('ERR_TENSOR_DISPOSED');
      expect(error.message).toMatch(new RegExp(`^${operation}: "${name}(\\[1\\])?" was disposed$`));
    }
  });

  test('a wrong type', () => {
    for (const [name, value] of Object.entries(args())) {
      if (!(value instanceof Tensor)) continue;
      const wrong = Tensor.zeros(value.shape, value.dtype === 'i32' ? 'f32' : 'i32');
      expectTypeError({ ...args(), [name]: wrong }, name);
    }
  });

  test('a wrong rank or size', () => {
    for (const [name, value] of Object.entries(args())) {
      if (!(value instanceof Tensor)) continue;
      const rank = Tensor.zeros([...value.shape, 1], value.dtype);
      if (!anyShape.has(operation)) expectTypeError({ ...args(), [name]: rank }, name);
      for (const axis of value.shape.keys()) {
        const shape = value.shape.map((size, index) => (index === axis ? size + 1 : size));
        const error = attempt({ ...args(), [name]: Tensor.zeros(shape, value.dtype) });
        // A dimension that only this argument has may be of any size, if the indices still fit (else RangeError).
        if (error !== undefined) {
          expect(error instanceof TypeError || error instanceof RangeError).toBe(true);
          expect(error.message).toMatch(new RegExp(`^${operation}: `));
        }
      }
    }
  });

  test('a number that is none', () => {
    for (const [name, value] of Object.entries(args())) {
      if (typeof value !== 'number') continue;
      for (const wrong of [Number.NaN, Number.NEGATIVE_INFINITY, '1']) {
        expectTypeError({ ...args(), [name]: wrong }, name);
      }
    }
  });

  test('an unknown choice', () => {
    for (const [name, value] of Object.entries(args())) {
      if (typeof value === 'string') expectTypeError({ ...args(), [name]: 'toString' }, name);
    }
  });

  test('an output that shares memory with another argument', () => {
    for (const [output, inPlaceOf] of Object.entries(outputs)) {
      for (const [name, value] of Object.entries(args())) {
        const good = args();
        const target = good[output] as Tensor;
        if (name === output || !(value instanceof Tensor) || !fits(value, target)) continue;
        const shared = { ...good, [output]: good[name] };
        if (name === inPlaceOf) run(shared as never);
        else expect(errorOf(run, shared).message).toContain('must not share memory with');
      }
    }
  });

  test('lists of the wrong length', () => {
    const lists = Object.entries(args()).filter(([, value]) => Array.isArray(value));
    if (lists.length < 2) return; // a list alone may have any length
    for (const [name, value] of lists) {
      const error = errorOf(run, { ...args(), [name]: (value as unknown[]).slice(1) });
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toContain(operation);
    }
  });

  function fits(a: Tensor, b: Tensor): boolean {
    return a.dtype === b.dtype && a.shape.join() === b.shape.join();
  }

  function attempt(spoiled: Args): Error | undefined {
    try {
      run(spoiled as never);
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }
});

test('l2Norm refuses what is not a list of f32 tensors', () => {
  const norm = Tensor.zeros([1]);
  expect(() => l2Norm({ tensors: undefined as never, norm })).toThrow(
    'l2Norm: "tensors" must be an array of tensors',
  );
  expect(() => l2Norm({ tensors: [Tensor.zeros([2], 'i32')], norm })).toThrow(
    '"tensors[0]" must be f32 [2], got i32 [2]',
  );
});

test('heads that do not fit together are refused', () => {
  const { run, args } = goodCalls.attention!;
  const heads = { layout: 'blocked', heads: 4, kvHeads: 2, headDim: 8 };
  for (const [wrong, name] of [
    [{ ...heads, kvHeads: 3 }, 'kvHeads'],
    [{ ...heads, layout: 'interleaved' }, 'kvHeads'],
    [{ ...heads, heads: 0 }, 'heads'],
    [{ ...heads, headDim: 1.5 }, 'headDim'],
    [{ ...heads, headDim: 16 }, 'qkv'],
    [{}, 'layout'],
  ] as const) {
    const error = errorOf(run, { ...args(), heads: wrong });
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(new RegExp(`^attention: .*"${name}"`));
  }
});

test('a view that overlaps an output in part is refused', () => {
  const memory = Tensor.zeros([6, 4]);
  const [a, b, out] = [memory.rows(0, 2), Tensor.zeros([2, 4]), memory.rows(1, 3)];
  expect(() => native.add({ a, b, out })).toThrow('add: "out" must not share memory with "a"');
  native.add({ a, b, out: memory.rows(2, 4) });
});

test('messages say what was expected and what was given', () => {
  const x = Tensor.zeros([2, 64]);
  const wrong = { x, weight: Tensor.zeros([3, 32]), out: Tensor.zeros([2, 3]) };
  expect(() => native.linear(wrong)).toThrow(
    new TypeError('linear: "weight" must be f32 [N, K] with K = 64, got f32 [3, 32]'),
  );
});

test('calls spoiled at random throw one of the documented errors and never end the process', () => {
  const pool: unknown[] = Object.values(goodCalls).flatMap(({ args }) => Object.values(args()));
  pool.push(undefined, null, -1, 0, 1, Number.NaN, 'x', Tensor.from([-5, 1000, 3, 1, 2, 0], [2, 3], 'i32'));
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.keys(goodCalls)),
      fc.array(fc.tuple(fc.nat(20), fc.nat(pool.length - 1)), { minLength: 1, maxLength: 3 }),
      (operation, changes) => {
        using _ = new Scope();
        const { run, args } = goodCalls[operation]!;
        const spoiled = args();
        const names = Object.keys(spoiled);
        for (const [place, choice] of changes) spoiled[names[place % names.length]!] = pool[choice];
        try {
          run(spoiled as never);
        } catch (error) {
          const known =
            error instanceof TypeError || error instanceof RangeError || error instanceof NativeError;
          if (!known || (error as NativeError).code === 'ERR_NATIVE_CALL') throw error;
        }
      },
    ),
    { numRuns: 3000 },
  );
});
