/** A training run of a few seconds: stories260k on the first HH-RLHF pairs of the examples. */
import { MODEL, ROOT, type TemporaryFolder } from './run.js';

/** Writes config.yaml into `folder`, with the run in `folder`/run; returns its path. `more` is YAML on top level. */
export function tinyConfig(folder: TemporaryFolder, more = '', method = 'sr-dpo'): string {
  const data = `${ROOT}/examples/data/hh-rlhf`;
  return folder.write(
    'config.yaml',
    `method: ${method}
model: { path: ${JSON.stringify(MODEL)} }
data:
  format: hh
  train: ${JSON.stringify(`${data}/harmless-base.train.jsonl.gz`)}
  eval: ${JSON.stringify(`${data}/harmless-base.eval.jsonl.gz`)}
  limit: first
  maxTrainPairs: 40
  maxEvalPairs: 8
tokens: { maxTokens: 160, maxPromptTokens: 96, longPrompt: drop }
augmentation: { maxTokens: 144 }
schedule: { warmupSteps: 0 }
training: { batchPairs: 4, maxSteps: 4, threads: 1 }
optimizer: { learningRate: 1e-4 }
evaluation: { everySteps: 2 }
output: { folder: ${JSON.stringify(folder.join('run'))} }
${more}`,
  );
}
