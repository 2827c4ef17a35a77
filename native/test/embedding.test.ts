import { afterEach, beforeEach, expect, test } from 'vitest';
import { embedding, embeddingBackward, Scope, setThreads, Tensor, threads } from '../lib/index.js';
import { expectClose, randomIndices, randomTensor } from './support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

test.each(['f32', 'bf16'] as const)('%s: rows of the table, exactly', dtype => {
  const table = randomTensor([50, 33], 1, dtype);
  const tokens = randomIndices(70, 50, 2);
  const out = Tensor.empty([70, 33]);
  embedding({ tokens: Tensor.from(tokens, [70]), table: table.tensor, out });
  const expected = [...tokens].flatMap(token => [...table.values.subarray(token * 33, token * 33 + 33)]);
  expect([...out.toFloat32Array()]).toEqual(expected);
});

test('the gradient adds up repeated tokens on top of what is there, the same for any number of threads', () => {
  const [count, width, vocabulary] = [200, 17, 9];
  const tokens = randomIndices(count, vocabulary, 3);
  const dOut = randomTensor([count, width], 4);
  const start = randomTensor([vocabulary, width], 5);
  const expected = Float64Array.from(start.values);
  for (let t = 0; t < count; t++) {
    for (let h = 0; h < width; h++) expected[tokens[t]! * width + h]! += dOut.values[t * width + h]!;
  }
  const before = threads();
  const results = [1, 2, 3].map(count => {
    setThreads(count);
    const dTable = Tensor.from(start.values, [vocabulary, width]);
    embeddingBackward({ tokens: Tensor.from(tokens, [tokens.length]), dOut: dOut.tensor, dTable });
    return dTable.toFloat32Array();
  });
  setThreads(before);
  expectClose(results[0]!, expected, 1e-6);
  expect(results[1]).toEqual(results[0]);
  expect(results[2]).toEqual(results[0]);
});
