/** Steps of small models with what the engine counts in them, for the tests of the plan. */
import { type Communicator, memory, resetPeakMemory, SOLO } from '@sralign/native';
import { isRefined, type Method } from '../../src/config/method.js';
import { createModel } from '../../src/model/load.js';
import { randomValues } from '../../src/model/parameters.js';
import type { ModelSpec } from '../../src/model/spec.js';
import type { PlanPhase } from '../../src/plan/memory.js';
import type { Sharding } from '../../src/shard/unit.js';
import type { PairTokens } from '../../src/tokens/examples.js';
import { PreferenceTrainer } from '../../src/train/preference-trainer.js';
import { examplesOf } from '../support.js';

const STEP_PHASES = ['augmented', 'forward', 'head', 'backward', 'optimizer'] as const;
export const PHASES: readonly PlanPhase[] = [...STEP_PHASES, 'evaluation'];

/** p. */
export const augmentation = Int32Array.from({ length: 30 }, (_, i) => i);

export interface StepCase {
  readonly dtype: 'f32' | 'bf16';
  readonly method: Method;
  readonly pairs: number;
  /** Default: all. */
  readonly microbatchPairs?: number;
  readonly activationCheckpointing?: boolean;
  readonly optimizer?: 'rmsprop' | 'adamw';
}

/** Pairs of about 90 tokens, no two of the same length. */
export const pairsOf = (count: number): PairTokens[] =>
  Array.from({ length: count }, (_, index) => {
    const ids = (length: number): Int32Array => Int32Array.from({ length }, (_, i) => (i * 7 + index) % 100);
    const prompt = ids(30 + ((index * 5) % 17));
    return {
      prompt,
      augmentedPrompt: prompt,
      chosen: ids(20 + (index % 9)),
      rejected: ids(18 + (index % 13)),
    };
  });

export interface MeasuredStep {
  /**
   * Tensor memory of the second step, when everything that is made on first use is there, and of an evaluation of all
   * pairs at once after it.
   */
  readonly phases: Partial<Record<PlanPhase, number>>;
  /** What the operations keep for themselves. */
  readonly workspace: number;
}

/** @param around called before and after the step that is measured */
export async function measureStep(
  spec: ModelSpec,
  testCase: StepCase,
  communicator: Communicator = SOLO,
  sharding: Sharding = 'none',
  around: { readonly before?: () => void; readonly after?: () => void } = {},
): Promise<MeasuredStep> {
  const { method, pairs, microbatchPairs = pairs, optimizer = 'rmsprop' } = testCase;
  const model = await createModel(spec, randomValues(0.02, 1), testCase.dtype, { communicator, sharding });
  const trainer = new PreferenceTrainer(model, augmentation, {
    method,
    beta: 0.1,
    lambda: 0.3,
    labelSmoothing: 0,
    logpReduction: 'sum',
    sftReduction: 'example',
    optimizer: { name: optimizer, alpha: 0.99, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
    maxGradNorm: 1,
    microbatchPairs,
    activationCheckpointing: testCase.activationCheckpointing === true,
  });
  try {
    const reference = { chosen: -50, rejected: -50 };
    const training = examplesOf(method, pairsOf(pairs)).map(tokens => ({
      tokens,
      reference: method === 'sft' ? null : reference,
      augmentedReference: isRefined(method) ? reference : null,
      source: 'test',
    }));
    await trainer.step(training, 1e-6);
    around.before?.();
    const metrics = await trainer.step(training, 1e-6);
    around.after?.();
    const phases: Partial<Record<PlanPhase, number>> = {};
    for (const phase of STEP_PHASES) {
      const bytes = metrics[`memory/${phase}_bytes`];
      if (bytes !== undefined) phases[phase] = bytes;
    }
    resetPeakMemory();
    await trainer.evaluate(training, pairs);
    const { peakBytes, workspaceBytes } = memory();
    return { phases: { ...phases, evaluation: peakBytes }, workspace: workspaceBytes };
  } finally {
    trainer.dispose();
    model.dispose();
  }
}
