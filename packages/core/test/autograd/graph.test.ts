import { memory, resetPeakMemory, Scope, Tensor } from '@sralign/native';
import { describe, expect, it } from 'vitest';
import { Graph, Variable } from '../../src/autograd/graph.js';
import { gelu, residual } from '../../src/autograd/ops.js';
import { packPairs } from '../../src/batch/pack.js';
import { batchHidden } from '../../src/loss/score.js';
import { fixedPairs, tinyModel } from '../support.js';

const ROWS = 1000;
const COLUMNS = 16;
const BYTES = ROWS * COLUMNS * 4;

const filled = (value: number): Tensor =>
  Tensor.from(new Float32Array(ROWS * COLUMNS).fill(value), [ROWS, COLUMNS]);

const setGradient = (variable: Variable, value: number): void =>
  variable.contribute('f32', target => target.copyFrom(filled(value)));

describe('the backward pass of gelu', () => {
  it('works in the buffer of its output gradient', () => {
    using _scope = new Scope();
    const graph = new Graph('recording');
    const x = new Variable(filled(0.5));
    const y = gelu(graph, x, 'erf');
    setGradient(y, 1);
    const before = memory().liveBytes;
    resetPeakMemory();
    graph.backward();
    expect(memory().peakBytes).toBe(before);
    // gelu'(x) = Phi(x) + x phi(x)
    expect(x.gradient!.toFloat32Array()[7]).toBeCloseTo(0.691462 + 0.5 * 0.352065, 5);
  });

  it('leaves a gradient alone that another variable shares', () => {
    using _scope = new Scope();
    const graph = new Graph('recording');
    const x = new Variable(filled(0.5));
    const stream = new Variable(filled(0));
    const sum = residual(graph, stream, gelu(graph, x, 'erf'));
    setGradient(sum, 1);
    graph.backward();
    expect(stream.gradient!.toFloat32Array()[7]).toBe(1);
    expect(x.gradient!.toFloat32Array()[7]).toBeCloseTo(0.691462 + 0.5 * 0.352065, 5);
  });
});

describe('the values of a block', () => {
  it('are freed at its end where no backward pass reads them', () => {
    using _scope = new Scope();
    const graph = new Graph('recording');
    const input = new Variable(filled(1));
    const before = memory().liveBytes;
    const output = graph.block(input, (graph, x) =>
      residual(graph, residual(graph, x, x), gelu(graph, x, 'erf')),
    );
    expect(memory().liveBytes - before).toBe(BYTES);
    setGradient(output, 1);
    graph.backward();
    expect(input.gradient!.toFloat32Array()[7]).toBeCloseTo(2 + 0.841345 + 0.241971, 5);
    expect(input.value.disposed).toBe(true);
  });

  it.each([
    ['gpt_neox parallel', 2],
    // Its second norm reads the sum after attention.
    ['gpt_neox serial', 3],
  ])('of %s stay as few as the backward pass needs', async (name, streams) => {
    const model = await tinyModel(name);
    const { layers, hiddenSize, feedForwardSize, heads } = model.spec;
    using _scope = new Scope();
    const batch = packPairs(fixedPairs(64), 'plain');
    const before = memory().liveBytes;
    batchHidden(model, new Graph('recording'), batch);
    const norm = hiddenSize + 2;
    const attention = 4 * hiddenSize + heads.heads;
    const perLayer = (streams - 1) * hiddenSize + 2 * norm + attention + 2 * feedForwardSize;
    const tokens = batch.tokens.length;
    const bytes = 4 * tokens * (layers * perLayer + hiddenSize + norm);
    expect((memory().liveBytes - before) / bytes).toBeGreaterThan(1);
    expect((memory().liveBytes - before) / bytes).toBeLessThan(1.02);
    model.dispose();
  });
});
