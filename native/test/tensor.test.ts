import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type DType, NativeError, Scope, Tensor } from '../lib/index.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

describe('creation', () => {
  test('from numbers, in the type asked for', () => {
    expect(Tensor.from([1.5, -2], [2]).dtype).toBe('f32');
    expect(Tensor.from(new Int32Array([1, 2]), [2]).dtype).toBe('i32');
    expect([...Tensor.from([1, -2, 3, 4], [2, 2], 'i32').toInt32Array()]).toEqual([1, -2, 3, 4]);
    expect([...Tensor.from([1.5, -2.25, 1 + 2 ** -9], [3], 'bf16').toFloat32Array()]).toEqual([
      1.5, -2.25, 1,
    ]);
  });

  test.each(['f32', 'bf16', 'i32'] as const)('%s zeros, size and bytes', dtype => {
    const tensor = Tensor.zeros([3, 5], dtype);
    expect([tensor.size, tensor.bytes]).toEqual([15, dtype === 'bf16' ? 30 : 60]);
    expect(tensor.readBytes()).toEqual(new Uint8Array(tensor.bytes));
  });

  test('a part of a larger array is taken as it is', () => {
    const values = Float32Array.of(1, 2, 3, 4).subarray(1, 3);
    expect([...Tensor.from(values, [2]).toFloat32Array()]).toEqual([2, 3]);
  });

  test('the shape cannot be changed from outside', () => {
    const shape = [2, 3];
    const tensor = Tensor.zeros(shape);
    shape[0] = 100;
    expect(tensor.shape).toEqual([2, 3]);
    expect(() => (tensor.shape as number[]).push(4)).toThrow(TypeError);
  });

  test.each([
    [[]],
    [[1, 2, 3, 4, 5]],
    [[0]],
    [[-1]],
    [[1.5]],
    [[Number.NaN]],
    ['x'],
    [undefined],
    [[2 ** 30, 2 ** 30]],
  ])('shape %j is refused', shape => {
    expect(() => Tensor.empty(shape as number[])).toThrow(/^Tensor.empty: "shape"/);
  });

  test('wrong values are refused', () => {
    expect(() => Tensor.from([1, 2], [3])).toThrow(
      'Tensor.from: "values" must hold 3 numbers for [3], got 2',
    );
    expect(() => Tensor.from([1, 1.5], [2], 'i32')).toThrow('"values"[1] must be a 32-bit integer, got 1.5');
    expect(() => Tensor.from([2 ** 31], [1], 'i32')).toThrow('"values"[0]');
    expect(() => Tensor.from(new Int32Array(1), [1], 'f32')).toThrow('needs dtype i32');
    expect(() => Tensor.empty([1], 'f64' as DType)).toThrow('"dtype" must be f32|bf16|i32, got f64');
  });

  test('what the machine cannot hold is an error that says how much was asked for', () => {
    const attempt = () => Tensor.empty([2 ** 25, 2 ** 25]);
    expect(attempt).toThrow(NativeError);
    expect(attempt).toThrow(`a tensor of ${2 ** 52} bytes was asked for`);
  });
});

describe('views', () => {
  test('rows and reshape share memory', () => {
    const tensor = Tensor.from([1, 2, 3, 4, 5, 6], [3, 2]);
    const rows = tensor.rows(1, 3);
    const flat = rows.reshape([4]);
    expect([rows.shape, flat.shape]).toEqual([[2, 2], [4]]);
    flat.zero();
    expect([...tensor.toFloat32Array()]).toEqual([1, 2, 0, 0, 0, 0]);
    expect([...tensor.rows(2, 3).reshape([2, 1]).toFloat32Array()]).toEqual([0, 0]);
  });

  test('a view outlives its tensor', () => {
    const tensor = Tensor.from([1, 2, 3, 4], [4]);
    const view = tensor.rows(1, 3);
    tensor.dispose();
    Tensor.from([9, 9, 9, 9], [4]);
    expect([...view.toFloat32Array()]).toEqual([2, 3]);
  });

  test.each([
    [0, 0],
    [2, 1],
    [-1, 1],
    [0, 4],
    [0.5, 2],
    [0, Number.NaN],
  ])('rows(%d, %d) of 3 is refused', (start, end) => {
    expect(() => Tensor.zeros([3, 2]).rows(start, end)).toThrow(/^Tensor.rows: "start" and "end"/);
  });

  test('reshape to another size is refused', () => {
    expect(() => Tensor.zeros([3, 2]).reshape([5])).toThrow('must have the 6 elements of [3, 2], got [5]');
  });
});

describe('write', () => {
  const floats = Float32Array.of(0, -0, 1, -1.5, 65504, 2 ** -14, 2 ** -24, 2 ** -20, 3e38);
  const f16Bits = Uint16Array.of(0, 0x8000, 0x3c00, 0xbe00, 0x7bff, 0x0400, 0x0001, 0x0010, 0x7c00);
  const f16Values = Float32Array.from([...floats.subarray(0, 8), Number.POSITIVE_INFINITY]);

  test('f16 becomes f32 exactly, subnormals and infinities too', () => {
    const tensor = Tensor.empty([9]);
    tensor.write(new Uint8Array(f16Bits.buffer), 'f16');
    expect(tensor.toFloat32Array()).toEqual(f16Values);
    const nan = Tensor.empty([1]);
    nan.write(Uint8Array.of(0x01, 0x7e), 'f16');
    expect(nan.toFloat32Array()[0]).toBeNaN();
  });

  test('f16 into bf16 is rounded once', () => {
    const tensor = Tensor.empty([9], 'bf16');
    tensor.write(new Uint8Array(f16Bits.buffer), 'f16');
    expect(tensor.toFloat32Array()).toEqual(Tensor.from(f16Values, [9], 'bf16').toFloat32Array());
  });

  test('f32 and bf16 pass through, at any alignment and in pieces', () => {
    const source = new Uint8Array(1 + floats.byteLength);
    source.set(new Uint8Array(floats.buffer), 1);
    const tensor = Tensor.zeros([12]);
    tensor.write(source.subarray(1, 9), 'f32', 2);
    tensor.write(source.subarray(9), 'f32', 4);
    expect(tensor.rows(2, 11).toFloat32Array()).toEqual(floats);
    expect([...tensor.rows(11, 12).toFloat32Array()]).toEqual([0]);

    const bf16 = Tensor.from([1, -2, 3], [3], 'bf16');
    const again = Tensor.empty([3], 'bf16');
    again.write(bf16.readBytes(), 'bf16');
    expect(again.readBytes()).toEqual(bf16.readBytes());
    const wide = Tensor.empty([3]);
    wide.write(bf16.readBytes(), 'bf16');
    expect([...wide.toFloat32Array()]).toEqual([1, -2, 3]);
  });

  test('more than one staging block', () => {
    const count = 600_000;
    const values = Float32Array.from({ length: count }, (_, index) => index % 251);
    const tensor = Tensor.from(values, [count], 'bf16');
    expect(tensor.toFloat32Array()).toEqual(values);
  });

  test('what does not fit is refused', () => {
    const tensor = Tensor.zeros([4]);
    expect(() => tensor.write(new Uint8Array(7), 'f32')).toThrow(
      '"bytes" must hold whole f32 numbers, got 7 bytes',
    );
    expect(() => tensor.write(new Uint8Array(8), 'f32', 3)).toThrow(
      '"offset" must leave room for 2 elements among 4, got 3',
    );
    expect(() => tensor.write(new Uint8Array(8), 'f32', -1)).toThrow('"offset"');
    expect(() => tensor.write(new Uint8Array(8), 'f64' as 'f32')).toThrow(
      '"sourceType" must be f32|f16|bf16, got f64',
    );
    expect(() => tensor.write([1, 2] as never, 'f32')).toThrow('"bytes" must be a Uint8Array');
    expect(() => Tensor.zeros([4], 'i32').write(new Uint8Array(4), 'f32')).toThrow(
      'must be f32|bf16, got i32',
    );
  });
});

test('reading as the wrong type is refused', () => {
  expect(() => Tensor.zeros([1], 'i32').toFloat32Array()).toThrow('must be f32|bf16, got i32');
  expect(() => Tensor.zeros([1], 'bf16').toInt32Array()).toThrow('must be i32, got bf16');
});

test('copyFrom copies between tensors of one kind', () => {
  const target = Tensor.zeros([2, 2], 'bf16');
  target.copyFrom(Tensor.from([1, 2, 3, 4], [2, 2], 'bf16'));
  expect([...target.toFloat32Array()]).toEqual([1, 2, 3, 4]);
  expect(() => target.copyFrom(Tensor.zeros([2, 2]))).toThrow('"other" must be bf16 [2, 2], got f32 [2, 2]');
  expect(() => target.copyFrom(Tensor.zeros([4], 'bf16'))).toThrow(
    '"other" must be bf16 [2, 2], got bf16 [4]',
  );
  expect(() => target.copyFrom({} as Tensor)).toThrow('"other" must be a Tensor');
});

test('every use of a disposed tensor throws ERR_TENSOR_DISPOSED; disposing again does nothing', () => {
  const tensor = Tensor.zeros([2, 2]);
  tensor.dispose();
  tensor.dispose();
  expect(tensor.disposed).toBe(true);
  const uses = [
    () => tensor.rows(0, 1),
    () => tensor.reshape([4]),
    () => tensor.toFloat32Array(),
    () => tensor.toInt32Array(),
    () => tensor.write(new Uint8Array(4), 'f32'),
    () => tensor.readBytes(),
    () => tensor.zero(),
    () => tensor.copyFrom(Tensor.zeros([2, 2])),
    () => Tensor.zeros([2, 2]).copyFrom(tensor),
  ];
  for (const use of uses) expect(use).toThrow(expect.objectContaining({ code: 'ERR_TENSOR_DISPOSED' }));
});
