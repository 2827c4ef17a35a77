/** Where the default of every setting comes from (docs/paper.md). */

export type Provenance = 'paper' | 'original DPO code' | 'ours';

/** Stated in the paper. */
const PAPER: readonly string[] = [
  ...['augmentation.prompt', 'loss.beta', 'loss.labelSmoothing', 'loss.logpReduction'],
  ...[
    'optimizer.name',
    'optimizer.learningRate',
    'reference.model',
    'tokens.maxTokens',
    'training.batchPairs',
  ],
];

/** Of the original DPO code, on which the paper builds, or of the optimizers of PyTorch, which that takes as they are. */
const ORIGINAL_CODE: readonly string[] = [
  ...['data.maxEvalPairs', 'evaluation.atStart', 'evaluation.batchPairs', 'sft.reduction', 'training.seed'],
  ...['optimizer.alpha', 'optimizer.beta1', 'optimizer.beta2', 'optimizer.epsilon', 'optimizer.weightDecay'],
  ...[
    'schedule.name',
    'schedule.warmupSteps',
    'tokens.maxPromptTokens',
    'training.epochs',
    'training.maxGradNorm',
  ],
];

/** Of the default of a key, as in `--set`; `ours` where neither says anything. */
export function provenanceOf(path: string): Provenance {
  if (PAPER.includes(path)) return 'paper';
  return ORIGINAL_CODE.includes(path) ? 'original DPO code' : 'ours';
}
