import fc from 'fast-check';
import { expect, test } from 'vitest';
import { memory, resetPeakMemory, Scope, Tensor, unscoped } from '../lib/index.js';
import { goodCalls } from './calls.js';

test('a scope frees what was made in it, except what is kept', () => {
  const before = memory();
  const outer = new Scope();
  const made = Tensor.zeros([10]);
  const inner = new Scope();
  const kept = inner.keep(Tensor.zeros([20]));
  const freed = Tensor.zeros([30]);
  const view = kept.rows(0, 5);
  inner.dispose();
  expect([made, kept, freed, view].map(tensor => tensor.disposed)).toEqual([false, false, true, true]);
  expect(memory().liveBytes - before.liveBytes).toBe(120);
  outer.dispose();
  outer.dispose();
  expect([made.disposed, kept.disposed]).toEqual([true, true]);
  expect(memory()).toMatchObject({ liveTensors: before.liveTensors, liveBytes: before.liveBytes });
});

test('what the outermost scope keeps belongs to the caller, and so does what unscoped makes', () => {
  const scope = new Scope();
  const kept = scope.keep(Tensor.zeros([1]));
  const free = unscoped(() => {
    const inside = new Scope();
    const tensor = inside.keep(Tensor.zeros([1]));
    inside.dispose();
    return tensor;
  });
  scope.dispose();
  expect([kept.disposed, free.disposed]).toEqual([false, false]);
  kept.dispose();
  free.dispose();
});

test('scopes are closed from the inside out', () => {
  const outer = new Scope();
  const inner = new Scope();
  expect(() => outer.dispose()).toThrow(expect.objectContaining({ code: 'ERR_SCOPE_ORDER' }));
  inner.dispose();
  outer.dispose();
});

test('an exception inside unscoped leaves the scopes as they were', () => {
  using scope = new Scope();
  expect(() =>
    unscoped(() => {
      new Scope();
      throw new Error('inside');
    }),
  ).toThrow('inside');
  const tensor = Tensor.zeros([1]);
  scope.dispose();
  expect(tensor.disposed).toBe(true);
});

test('any order of making, viewing and freeing keeps contents apart and counts right', () => {
  const command = fc.oneof(
    fc.record({ kind: fc.constant('create' as const), size: fc.integer({ min: 1, max: 3000 }) }),
    fc.record({ kind: fc.constant('view' as const), of: fc.nat(), from: fc.nat(), to: fc.nat() }),
    fc.record({ kind: fc.constant('free' as const), which: fc.nat() }),
  );
  fc.assert(
    fc.property(fc.array(command, { maxLength: 60 }), commands => {
      const before = memory();
      let stamp = 0;
      let live: { tensor: Tensor; expected: number; block: { bytes: number; users: number } }[] = [];
      for (const step of commands) {
        if (step.kind === 'create') {
          const expected = ++stamp;
          const tensor = Tensor.from(new Float32Array(step.size).fill(expected), [step.size]);
          live.push({ tensor, expected, block: { bytes: tensor.bytes, users: 1 } });
        } else if (live.length > 0 && step.kind === 'view') {
          const base = live[step.of % live.length]!;
          const start = step.from % base.tensor.size;
          const tensor = base.tensor.rows(start, start + 1 + (step.to % (base.tensor.size - start)));
          base.block.users++;
          live.push({ ...base, tensor });
        } else if (live.length > 0 && step.kind === 'free') {
          const [gone] = live.splice(step.which % live.length, 1);
          gone!.block.users--;
          gone!.tensor.dispose();
        }
        const blocks = new Set(live.map(({ block }) => block));
        const bytes = [...blocks].reduce((sum, block) => sum + block.bytes, 0);
        expect(memory().liveTensors - before.liveTensors).toBe(live.length);
        expect(memory().liveBytes - before.liveBytes).toBe(bytes);
      }
      for (const { tensor, expected } of live) {
        expect(tensor.toFloat32Array().every(value => value === expected)).toBe(true);
        tensor.dispose();
      }
      live = [];
      expect(memory()).toMatchObject({ liveTensors: before.liveTensors, liveBytes: before.liveBytes });
    }),
  );
});

test('peak and largest allocation since the reset', () => {
  resetPeakMemory();
  const { liveBytes } = memory();
  const [a, b] = [Tensor.zeros([1_000_000]), Tensor.zeros([2_000_000])];
  a.dispose();
  b.dispose();
  expect(memory().peakBytes - liveBytes).toBe(12_000_000);
  expect(memory().largestAllocationBytes).toBeGreaterThanOrEqual(8_000_000);
  expect(memory().liveBytes).toBe(liveBytes);
  resetPeakMemory();
  expect(memory().peakBytes).toBe(liveBytes);
  const { largestAllocationBytes, workspaceBytes } = memory(); // with no tensor since, working memory is left
  expect(largestAllocationBytes).toBeLessThanOrEqual(workspaceBytes);
});

test('no native memory grows over 200 rounds of every operation', () => {
  const round = () => {
    using _ = new Scope();
    for (const { run, args } of Object.values(goodCalls)) run(args() as never);
  };
  round();
  const first = memory();
  for (let i = 0; i < 200; i++) round();
  expect(memory()).toEqual(first);
});

test('memory kept for reuse stays near the peak while sizes keep changing', () => {
  const held: Tensor[] = [];
  for (let i = 0; i < 400; i++) {
    held.push(Tensor.zeros([1_000_000 + 37_000 * i]));
    if (held.length > 3) held.shift()!.dispose();
    const { liveBytes, cachedBytes } = memory();
    expect(liveBytes + cachedBytes).toBeLessThan(1.45 * 4 * 4 * (1_000_000 + 37_000 * i) + 2 ** 27);
  }
  for (const tensor of held) tensor.dispose();
});
