/** The planned memory of a step against what the engine counts in one, on one rank. */
import { cpuInfo, threads } from '@sralign/native';
import { describe, expect, it } from 'vitest';
import { isRefined } from '../../src/config/method.js';
import { type ModelSpec, parseModelSpec } from '../../src/model/spec.js';
import { lengthsOf, packedShape } from '../../src/plan/lengths.js';
import { type MemoryOptions, type PlanPhase, planMemory, workspaceOptions } from '../../src/plan/memory.js';
import { cpuWorkspace } from '../../src/plan/workspace.js';
import { examplesOf, tinyConfigs } from '../support.js';
import { augmentation, measureStep, PHASES, pairsOf, type StepCase } from './measured.js';

interface Case extends StepCase {
  readonly config: string;
  /** Instead of the sizes of the tiny configuration. */
  readonly sizes: Readonly<Record<string, number>>;
}

/** Few tokens of a model with many parameters, and many tokens of a small one. */
const wide = { hidden_size: 192, intermediate_size: 700, vocab_size: 900, num_hidden_layers: 3 };
const narrow = { hidden_size: 48, intermediate_size: 96, vocab_size: 150, num_hidden_layers: 6 };
const [parallel, serial, grouped, tied] = Object.keys(tinyConfigs) as [string, string, string, string];
const heads = { num_attention_heads: 4, head_dim: 12, num_key_value_heads: 2 };

const cases: Case[] = [
  { config: parallel, sizes: wide, dtype: 'f32', method: 'sr-dpo', pairs: 2 },
  { config: parallel, sizes: wide, dtype: 'bf16', method: 'sr-dpo', pairs: 2, optimizer: 'adamw' },
  { config: parallel, sizes: narrow, dtype: 'f32', method: 'sr-dpo', pairs: 24 },
  { config: parallel, sizes: narrow, dtype: 'bf16', method: 'dpo', pairs: 24 },
  {
    config: parallel,
    sizes: narrow,
    dtype: 'f32',
    method: 'dpo',
    pairs: 24,
    activationCheckpointing: true,
  },
  {
    config: parallel,
    sizes: narrow,
    dtype: 'bf16',
    method: 'sr-dpo',
    pairs: 24,
    activationCheckpointing: true,
  },
  { config: parallel, sizes: narrow, dtype: 'f32', method: 'sft', pairs: 40, microbatchPairs: 10 },
  { config: serial, sizes: narrow, dtype: 'f32', method: 'sr-ipo', pairs: 20 },
  { config: serial, sizes: narrow, dtype: 'bf16', method: 'ipo', pairs: 9 },
  { config: grouped, sizes: { ...wide, ...heads }, dtype: 'f32', method: 'dpo', pairs: 3 },
  { config: grouped, sizes: { ...wide, ...heads }, dtype: 'bf16', method: 'sft', pairs: 3 },
  { config: grouped, sizes: { ...narrow, ...heads }, dtype: 'f32', method: 'sr-dpo', pairs: 24 },
  { config: grouped, sizes: { ...narrow, ...heads }, dtype: 'bf16', method: 'sr-dpo', pairs: 24 },
  {
    config: grouped,
    sizes: { ...narrow, ...heads },
    dtype: 'bf16',
    method: 'sft',
    pairs: 32,
    activationCheckpointing: true,
  },
  // Logits of two pairs at a time; and of a pair too many to keep.
  { config: tied, sizes: { vocab_size: 300_000 }, dtype: 'f32', method: 'dpo', pairs: 4 },
  { config: tied, sizes: { vocab_size: 800_000, hidden_size: 8 }, dtype: 'bf16', method: 'dpo', pairs: 2 },
  { config: tied, sizes: { ...narrow, ...heads }, dtype: 'bf16', method: 'sr-dpo', pairs: 16 },
  {
    config: tied,
    sizes: { ...wide, ...heads },
    dtype: 'f32',
    method: 'sr-dpo',
    pairs: 8,
    microbatchPairs: 2,
  },
];

const nameOf = ({ config, dtype, method, pairs, microbatchPairs, activationCheckpointing, sizes }: Case) =>
  `${config} of ${sizes.hidden_size ?? 24}, ${dtype}, ${method}, ${pairs} pairs` +
  `${microbatchPairs ? ` by ${microbatchPairs}` : ''}${activationCheckpointing ? ', checkpointing' : ''}`;

/** What is planned for every microbatch of a step. */
function optionsOf(spec: ModelSpec, testCase: Case): MemoryOptions[] {
  const { method, pairs, microbatchPairs = pairs } = testCase;
  const lengths = examplesOf(method, pairsOf(pairs)).map(lengthsOf);
  const view = isRefined(method) ? 'augmented' : 'plain';
  const batches = Array.from({ length: pairs / microbatchPairs }, (_, index) =>
    lengths.slice(index * microbatchPairs, (index + 1) * microbatchPairs),
  );
  return batches.map(batch => ({
    dtype: testCase.dtype,
    optimizer: testCase.optimizer ?? 'rmsprop',
    sharding: 'full',
    worldSize: 1,
    activationCheckpointing: testCase.activationCheckpointing === true,
    microbatches: batches.length,
    plain: packedShape(batch, 'plain', 0, spec.window),
    augmented: isRefined(method) ? packedShape(batch, 'augmented', augmentation.length, spec.window) : null,
    evaluation: packedShape(lengths, view, augmentation.length, spec.window),
    device: 'cpu',
    threads: threads(),
    nativeBf16: cpuInfo().nativeBf16,
  }));
}

describe('planned and measured memory agree:', () => {
  /** The buffers grow only, so they are the largest of all cases that ran before in this thread. */
  const buffers = new Map<string, number>();

  it.each(cases.map(testCase => [nameOf(testCase), testCase] as const))('%s', async (_name, testCase) => {
    const spec = parseModelSpec({ ...tinyConfigs[testCase.config], ...testCase.sizes }, 'config.json');
    const planned: Partial<Record<PlanPhase, number>> = {};
    for (const options of optionsOf(spec, testCase)) {
      const plan = planMemory(spec, options);
      for (const phase of PHASES) {
        if (plan.phases[phase] === undefined) continue;
        planned[phase] = Math.max(planned[phase] ?? 0, plan.phases[phase] - plan.kinds.workspace);
      }
      for (const [name, bytes] of Object.entries(cpuWorkspace(workspaceOptions(spec, options)))) {
        buffers.set(name, Math.max(buffers.get(name) ?? 0, bytes));
      }
    }
    const measured = await measureStep(spec, testCase);
    expect(Object.keys(planned).sort()).toEqual(Object.keys(measured.phases).sort());
    const worst = (phases: Partial<Record<PlanPhase, number>>): number => Math.max(...Object.values(phases));
    expectNear(worst(planned), worst(measured.phases), 0.01);
    for (const phase of PHASES) {
      if (measured.phases[phase] !== undefined) expectNear(planned[phase]!, measured.phases[phase], 0.01);
    }
    expectNear(
      [...buffers.values()].reduce((sum, bytes) => sum + bytes, 0),
      measured.workspace,
      0.05,
    );
  });
});

function expectNear(planned: number, measured: number, tolerance: number): void {
  expect(planned / measured).toBeGreaterThan(1 - tolerance);
  expect(planned / measured).toBeLessThan(1 + tolerance);
}
