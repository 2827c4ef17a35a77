/** Every parser of something that a user, a hub or another program may have written. */
import { checkpointTargets } from './checkpoint-targets.js';
import { dataTargets } from './data-targets.js';
import { modelTargets } from './model-targets.js';
import type { Target } from './target.js';
import { tokenizerTargets } from './tokenizer-targets.js';

export const targets: readonly Target[] = [
  ...dataTargets,
  ...modelTargets,
  ...tokenizerTargets,
  ...checkpointTargets,
];
