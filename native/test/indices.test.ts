import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Scope, Tensor } from '../lib/index.js';
import { goodCalls } from './calls.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

const targets = [
  { argument: 'rows', values: [1, 4], text: '"rows"[1] is 4, but must be at least 0 and below 4' },
  { argument: 'rows', values: [3, 3], text: '"rows"[1] is 3, but each value may stand there only once' },
  { argument: 'targetRows', values: [0, 0, 2], text: '"targetRows"[2] is 2' },
  {
    argument: 'targetRows',
    values: [0, 1, 0],
    text: '"targetRows"[2] is 0, but the values must not decrease',
  },
  { argument: 'labels', values: [8, 9, 0], text: '"labels"[1] is 9' },
  { argument: 'labels', values: [8, 0, -1], text: '"labels"[2] is -1' },
];
const masked = [
  { argument: 'labels', values: [0, 9], text: '"labels"[1] is 9, but must be at least -1 and below 9' },
  { argument: 'labels', values: [-2, 0], text: '"labels"[0] is -2' },
];
const offsets = [
  { argument: 'offsets', values: [1, 2, 5], text: '"offsets"[0] is 1, but must be 0' },
  { argument: 'offsets', values: [0, 6, 5], text: '"offsets"[2] is 5, but the values must not decrease' },
  { argument: 'offsets', values: [0, 2, 4], text: '"offsets"[2] is 4, but must be the number of values, 5' },
];
const segments = [
  { argument: 'segments', values: [0, 3, -1, 4, 1, 0], text: 'segment 1 starts at 4, but must start at 3' },
  { argument: 'segments', values: [0, 3, -1, 3, 3, 0], text: 'segment 1 has length 3' },
  { argument: 'segments', values: [0, 5, -1, 5, 0, 0], text: 'segment 1 has length 0' },
  { argument: 'segments', values: [0, 3, -1, 3, 1, 0], text: 'they end at token 4, but there are 5 tokens' },
  { argument: 'segments', values: [0, 3, -1, 3, 2, 1], text: 'segment 1 has parent 1' },
  { argument: 'segments', values: [0, 3, 0, 3, 2, 0], text: 'segment 0 has parent 0' },
  { argument: 'segments', values: [0, 3, -1, 3, 2, -2], text: 'segment 1 has parent -2' },
];
const tokens = [
  { argument: 'tokens', values: [0, 3], text: '"tokens"[1] is 3, but must be at least 0 and below 3' },
  { argument: 'tokens', values: [-1, 0], text: '"tokens"[0] is -1' },
];
const positions = [
  { argument: 'positions', values: [0, 1, 2, 3, 6], text: '"positions"[4] is 6' },
  { argument: 'positions', values: [0, -1, 2, 3, 4], text: '"positions"[1] is -1' },
];
const counts = [{ argument: 'responseTokens', values: [1, 2, 3, 0, 5, 6], text: '"responseTokens"[3] is 0' }];

describe.each([
  ['embedding', tokens],
  ['embeddingBackward', tokens],
  ['rotary', positions],
  ['attention', segments],
  ['attentionBackward', segments],
  ['linearLogprob', targets],
  ['linearLogprobBackward', targets],
  ['logprobGather', masked],
  ['logprobGatherBackward', masked],
  ['sequenceSum', offsets],
  ['sequenceSumBackward', offsets],
  ['preferenceLoss', counts],
] as const)('%s', (operation, cases) => {
  test.each(cases)('refuses: $text', ({ argument, values, text }) => {
    const { run, args, outputs } = goodCalls[operation]!;
    const good = args();
    const shape = (good[argument] as Tensor).shape;
    const written = Object.keys(outputs).map(name => good[name] as Tensor);
    const before = written.map(tensor => tensor.readBytes());
    const attempt = () => run({ ...good, [argument]: Tensor.from(values, shape, 'i32') } as never);
    expect(attempt).toThrow(RangeError);
    expect(attempt).toThrow(expect.objectContaining({ code: 'ERR_INDEX' }));
    expect(attempt).toThrow(text);
    expect(attempt).toThrow(new RegExp(`^${operation}: `));
    expect(written.map(tensor => tensor.readBytes())).toEqual(before); // nothing was touched
  });
});
