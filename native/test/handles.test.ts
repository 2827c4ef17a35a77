/** What the checks of an operation rely on cannot be changed or forged by a program that holds a handle. */
import { createRequire } from 'node:module';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { add, attention, l2Norm, Scope, Tensor, WorldCommunicator } from '../lib/index.js';

const require = createRequire(import.meta.url);

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

/** What is neither of the class nor frozen would go through the checks. */
type Loose = Record<string, unknown>;

describe('a tensor', () => {
  test.each<[string, unknown]>([
    ['shape', [1000, 1000]],
    ['dtype', 'i32'],
    ['id', 1],
    ['size', 1e6],
    ['bytes', 4e6],
    ['memory', {}],
    ['byteOffset', 64],
    ['disposed', true],
  ])('keeps its %s', (name, value) => {
    const tensor = Tensor.zeros([2, 3]);
    const before = tensor[name as keyof Tensor];
    expect(() => {
      (tensor as unknown as Loose)[name] = value;
    }).toThrow(TypeError);
    expect(() => Object.defineProperty(tensor, name, { value })).toThrow(TypeError);
    expect(() => Object.setPrototypeOf(tensor, { [name]: value })).toThrow(TypeError);
    expect(tensor[name as keyof Tensor]).toEqual(before);
    expect(Object.isFrozen(tensor) && Object.isFrozen(tensor.shape)).toBe(true);
  });

  test('is made by this package only', () => {
    const tensor = Tensor.zeros([2, 3]);
    const Constructor = Tensor as unknown as new (...args: unknown[]) => Tensor;
    expect(() => new Constructor(tensor.id, [1000, 1000], 'f32', {}, 0)).toThrow('made by Tensor.empty');
    expect(() => new (class extends Constructor {})(Symbol('maker'), tensor.id)).toThrow(
      'made by Tensor.empty',
    );
  });

  test.each<[string, (tensor: Tensor) => unknown]>([
    ['that inherits', tensor => Object.create(tensor, { shape: { value: [1000, 1000] } })],
    ['of the same prototype', tensor => Object.assign(Object.create(Tensor.prototype), tensor, { size: 6 })],
    ['behind a proxy', tensor => new Proxy(tensor, {})],
  ])('is no object %s', (_, forge) => {
    const tensor = Tensor.zeros([2, 3]);
    const forged = forge(tensor) as Tensor;
    const out = Tensor.zeros([2, 3]);
    expect(() => add({ a: forged, b: tensor, out })).toThrow('add: "a" must be a tensor, got an object');
    expect(() => l2Norm({ tensors: [forged], norm: Tensor.zeros([1]) })).toThrow(TypeError);
    expect(() => out.copyFrom(forged)).toThrow('Tensor.copyFrom: "other" must be a Tensor');
    expect(() => attention({ qkv: forged } as unknown as Parameters<typeof attention>[0])).toThrow(TypeError);
  });

  test('of an array that changes its mind has the shape that was checked', () => {
    let reads = 0;
    const shape = new Proxy([2, 3], {
      get: (target, name) => (name === '0' ? (reads++ === 0 ? 2 : 1000) : Reflect.get(target, name)),
    });
    expect(Tensor.zeros(shape).shape).toEqual([2, 3]);
  });
});

test('an array of tensors that changes its mind is read once', () => {
  const [small, large] = [Tensor.zeros([2]), Tensor.zeros([2])];
  let reads = 0;
  const tensors = new Proxy([small], {
    get: (target, name) => (name === '0' ? (reads++ === 0 ? small : large) : Reflect.get(target, name)),
  });
  l2Norm({ tensors, norm: Tensor.zeros([1]) });
  expect(reads).toBe(1);
});

test('the communicator of a job keeps its rank and world size', () => {
  const communicator = Object.create(WorldCommunicator.prototype, {
    rank: { value: 0 },
    worldSize: { value: 1 },
  }) as WorldCommunicator;
  const [shard, out] = [Tensor.zeros([2]), Tensor.zeros([2])];
  expect(() => communicator.allGather(shard, out)).toThrow(TypeError);
  expect(() => communicator.reduceScatter(out, shard)).toThrow(TypeError);
});

test.each(['build/Release/sralign_native.node', 'dist/load.js', 'dist/binding.js', 'package.json'])(
  'the package exports no %s',
  async path => {
    const name = `@sralign/native/${path}`;
    expect(() => require.resolve(name)).toThrow(/not defined by "exports"/);
    await expect(import(/* @vite-ignore */ name)).rejects.toThrow();
  },
);
