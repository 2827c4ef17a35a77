/** The whole trainer on the CUDA backend: the demo's Sr-DPO for a few steps, with the curve of the processor. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
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

let runs = 0;

type Line = Record<string, number>;
// A margin is a small difference of large sums, which bf16 does not carry.
const summed = ['loss', 'logps/chosen', 'logps/rejected', 'grad_norm'];

/** The logged lines of a run of a few steps; over several ranks that meet at a port of this machine. */
async function train(device: string, dtype: string, ranks = 1, sharding = 'full'): Promise<Line[]> {
  const output = join(folder, `run-${runs++}`);
  const settings = {
    method: 'sr-dpo',
    'model.path': join(root, 'examples/models/stories260k'),
    'data.eval': '[]',
    'evaluation.everySteps': 'null',
    'data.limit': 'first',
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
    'training.sharding': sharding,
    'training.dtype': dtype,
    'logging.everySteps': 1,
    'output.folder': output,
  };
  const sets = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
  const main = join(root, 'packages/cli/dist/main.js');
  const port = await freePort();
  const start = (rank: number): Promise<unknown> =>
    promisify(execFile)(process.execPath, [main, 'train', 'examples/demo/dpo.yaml', ...sets], {
      cwd: root,
      env: {
        ...process.env,
        ...(ranks > 1 && {
          ...{
            RANK: `${rank}`,
            WORLD_SIZE: `${ranks}`,
            LOCAL_RANK: `${rank}`,
            CUDA_VISIBLE_DEVICES: `${rank}`,
          },
          ...{ MASTER_ADDR: '127.0.0.1', MASTER_PORT: `${port}` },
        }),
      },
    });
  await Promise.all(Array.from({ length: ranks }, (_, rank) => start(rank)));
  const text = await readFile(join(output, 'metrics.jsonl'), 'utf8');
  return text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Line)
    .filter(line => 'grad_norm' in line);
}

/** The f32 run of one rank on the device, which two tests compare with. */
const onOneGpu = (() => {
  let lines: Promise<Line[]> | undefined;
  return (): Promise<Line[]> => (lines ??= train('cuda', 'f32'));
})();

function freePort(): Promise<number> {
  const server = createServer();
  return new Promise(resolve => {
    server.listen(0, () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

// Streams interleave at random within what events promise: a step that does not wait for what it needs gets other numbers.
test.each([
  [2, 'full'],
  [3, 'gradients'],
])('%s ranks over NCCL, sharding %s', async (ranks, sharding) => {
  const several = await train('cuda', 'f32', ranks, sharding);
  for (const [step, expected] of (await onOneGpu()).entries()) {
    for (const name of [...summed, 'margin']) {
      const error = Math.abs(several[step]![name]! - expected[name]!);
      expect(error / Math.max(10, Math.abs(expected[name]!)), `${name}, step ${step}`).toBeLessThan(1e-5);
    }
  }
});

test.each([
  ['f32', 1e-3, [...summed, 'margin', 'sr/delta']],
  ['bf16', 3e-2, summed],
] as const)('%s', async (dtype, tolerance, names) => {
  const onDevice = dtype === 'f32' ? onOneGpu() : train('cuda', dtype);
  const [processor, cuda] = await Promise.all([train('cpu', dtype), onDevice]);
  // What rounding to bf16 changes by itself: another order of sums may change as much.
  const exact = dtype === 'f32' ? processor : await train('cpu', 'f32');
  expect(cuda).toHaveLength(5);
  expect(cuda[4]!.margin).not.toBe(cuda[0]!.margin);
  for (const [step, expected] of processor.entries()) {
    for (const name of names) {
      const size = Math.max(1, Math.abs(expected[name]!));
      const error = Math.abs(cuda[step]![name]! - expected[name]!) / size;
      const rounding = Math.abs(exact[step]![name]! - expected[name]!) / size;
      expect(error, `${name}, step ${step}`).toBeLessThan(tolerance + 2 * rounding);
    }
  }
});
