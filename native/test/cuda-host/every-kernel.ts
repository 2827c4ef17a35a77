/** Runs every kernel once (native/test/every-kernel.mjs) and compares what comes out. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expectClose } from '../support.js';

export type Results = Record<string, Record<string, number[]>>;

/** @param environment such as SRALIGN_CUDA_HOST_SEED, which draws the schedule of the threads */
export async function everyKernel(
  device: string,
  environment: Record<string, string> = {},
): Promise<Results> {
  const script = fileURLToPath(new URL('../every-kernel.mjs', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [script, device], {
    env: { ...process.env, ...environment },
    maxBuffer: 1 << 28,
  });
  return JSON.parse(stdout).results;
}

/** @throws where a number differs by more than sums in another order and roundings to bf16 may */
export function expectSameResults(actual: Results, expected: Results): void {
  for (const [name, tensors] of Object.entries(expected)) {
    const tolerance = name.endsWith('bf16') ? 2 ** -7 : 5e-6;
    for (const [tensor, values] of Object.entries(tensors)) {
      expectClose(actual[name]![tensor]!, values, tolerance);
    }
  }
}
