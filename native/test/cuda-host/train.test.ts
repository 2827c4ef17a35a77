/** The whole trainer on the CUDA backend: the demo's Sr-DPO for a few steps, with the curve of the processor. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../..', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sralign-cuda-host-'));
});
afterAll(() => rm(folder, { recursive: true }));

type Line = Record<string, number>;

/** The logged lines of a run of a few steps. */
async function train(device: string, dtype: string): Promise<Line[]> {
  const output = join(folder, `${device}-${dtype}`);
  const settings = {
    method: 'sr-dpo',
    'model.path': join(root, 'examples/models/stories260k'),
    'data.eval': '[]',
    'evaluation.everySteps': 'null',
    'data.maxTrainPairs': 12,
    'augmentation.prompt': 'Give the best answer.',
    'tokens.maxTokens': 64,
    'tokens.maxPromptTokens': 40,
    'tokens.longPrompt': 'keep-end',
    'optimizer.learningRate': '1e-4',
    'schedule.warmupSteps': 0,
    'training.batchPairs': 4,
    'training.microbatchPairs': 2,
    'training.maxSteps': 5,
    'training.device': device,
    'training.dtype': dtype,
    'logging.everySteps': 1,
    'output.folder': output,
  };
  const sets = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
  const main = join(root, 'packages/cli/dist/main.js');
  await promisify(execFile)(process.execPath, [main, 'train', 'examples/demo/dpo.yaml', ...sets], {
    cwd: root,
  });
  const text = await readFile(join(output, 'metrics.jsonl'), 'utf8');
  return text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Line)
    .filter(line => 'grad_norm' in line);
}

// A margin is a small difference of large sums, which bf16 does not carry.
const summed = ['loss', 'logps/chosen', 'logps/rejected', 'grad_norm'];
test.each([
  ['f32', 1e-3, [...summed, 'margin', 'sr/delta']],
  ['bf16', 3e-2, summed],
] as const)('%s', async (dtype, tolerance, names) => {
  const [processor, cuda] = await Promise.all([train('cpu', dtype), train('cuda', dtype)]);
  expect(cuda).toHaveLength(5);
  expect(cuda[4]!.margin).not.toBe(cuda[0]!.margin);
  for (const [step, expected] of processor.entries()) {
    for (const name of names) {
      const error = Math.abs(cuda[step]![name]! - expected[name]!);
      expect(error / Math.max(1, Math.abs(expected[name]!)), `${name}, step ${step}`).toBeLessThan(tolerance);
    }
  }
});
