/** The sections `loss` and `sft`: what is minimised. */
import { z } from 'zod';
import { key } from './keys.js';

export const lossSchema = z.strictObject({
  beta: key(
    z.number().positive().default(0.1),
    'Strength of the implicit KL constraint to the reference.',
    'beta',
  ),
  lambda: key(
    z.number().nonnegative().default(0.3),
    'Weight of the self-refinement in sr-dpo and sr-ipo; 0 gives dpo and ipo.',
  ),
  labelSmoothing: key(
    z.number().min(0).lt(0.5).default(0),
    'Probability that a preference label is wrong; for dpo and sr-dpo.',
    'label_smoothing',
  ),
  logpReduction: key(
    z.enum(['sum', 'mean']).default('sum'),
    'Log-probability of a response: sum over its tokens (the paper), or mean per token. For margin and delta alike.',
  ),
});

export const sftSchema = z.strictObject({
  reduction: key(
    z.enum(['example', 'token']).default('example'),
    'Mean over examples of the summed negative log-probability, or mean over tokens.',
  ),
  turns: key(
    z.enum(['all', 'last']).default('all'),
    "Answers of a conversation that are trained on: every assistant's turn, or the last alone, with all before it as its prompt.",
    'assistant_only_loss',
    'mask_history',
  ),
});
