/** What an operation says that the device refuses. */
import { expect, test } from 'vitest';
import { attention, NativeError, Scope, Tensor } from '../../lib/index.js';

test('an error names the operation, the reason and the shapes', () => {
  using _scope = new Scope();
  const heads = { layout: 'interleaved', heads: 1, kvHeads: 1, headDim: 300 } as const;
  const call = () =>
    attention({
      qkv: Tensor.zeros([2, 900]),
      segments: Tensor.from(Int32Array.of(0, 2, -1), [1, 3]),
      heads,
      out: Tensor.zeros([2, 300]),
      logSumExp: Tensor.zeros([2, 1]),
    });
  expect(call).toThrow(NativeError);
  expect(call).toThrow(/^attention: .*headDim 300.*f32 \[2, 900\], i32 \[1, 3\]/);
});

test('out of memory says what was asked for and what is in use', () => {
  using _scope = new Scope();
  Tensor.zeros([1024, 1024]);
  const error =
    /a tensor of 4000000000000 bytes was asked for while 4194304 bytes of tensors are in use.*MiB are free/;
  expect(() => Tensor.empty([1_000_000, 1_000_000])).toThrow(error);
});
