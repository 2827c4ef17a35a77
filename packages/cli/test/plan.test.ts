import { describe, expect, it } from 'vitest';
import { MODEL, sralign, TemporaryFolder } from './run.js';
import { tinyConfig } from './tiny.js';

const CEILINGS = ['--tflops', '1', '--memory-gb-per-s', '100'];
const RECIPES = 'examples/recipes';

describe('sralign plan', () => {
  it('prints memory by kind, time, and what fits', async () => {
    using folder = new TemporaryFolder();
    const { code, stdout, stderr } = await sralign([
      'plan',
      tinyConfig(folder),
      '--memory',
      '1GiB',
      ...CEILINGS,
    ]);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(stdout).toContain('260,032 parameters in f32 on 1 rank; 4 pairs a step');
    expect(stdout).toMatch(/^activations +[\d.]+ MiB$/m);
    expect(stdout).toMatch(/^total +[\d.]+ MiB: fits, [\d.]+ MiB free of 1\.0 GiB$/m);
    expect(stdout).toMatch(/^Communication: none$/m);
    expect(stdout).toMatch(/^step +[\d.]+ ms$/m);
    expect(stdout).toMatch(/^full +yes +[\d.]+ MiB +fits +4 /m);
    expect(stdout).toContain('products: 1.00 TFLOP/s, given');
    expect(stdout).toContain(`model: ${MODEL}`);
  });

  it('is one JSON object with --json, and says how much is missing', async () => {
    using folder = new TemporaryFolder();
    const args = ['plan', tinyConfig(folder), '--gpus', '2', '--memory', '1MB', '--json', ...CEILINGS];
    const plan = JSON.parse((await sralign(args)).stdout);
    expect(plan).toMatchObject({ worldSize: 2, memoryBytes: 1e6, fits: false, sharding: 'full' });
    const kinds = Object.values<number>(plan.memory.kinds).reduce((sum, bytes) => sum + bytes, 0);
    expect(plan.memory.totalBytes).toBe(kinds);
    expect(plan.freeBytes).toBe(1e6 - kinds);
    expect(plan.step.communication.allGatherBytes).toBeGreaterThan(0);
    expect(plan.alternatives).toHaveLength(6);
  });

  it.each([
    ['hh-pythia-2.8b', '8', 2_775_208_960],
    ['ultrafeedback-zephyr-7b', '64', 7_241_732_096],
  ])('plans the recipe %s from the config.json beside it', async (recipe, gpus, parameters) => {
    const args = ['--gpus', gpus, '--memory', '80GiB', '--set', 'training.device=cuda', ...CEILINGS];
    const { stdout } = await sralign(['plan', `${RECIPES}/${recipe}/sr-dpo.yaml`, '--json', ...args]);
    const plan = JSON.parse(stdout);
    expect(plan.parameters).toBe(parameters);
    expect(plan.fits).toBe(true);
    expect(plan.assumptions[0]).toContain(`${RECIPES}/${recipe}/config.json`);
  });

  it('says null for a microbatch that the configuration takes only so', async () => {
    using folder = new TemporaryFolder();
    const set = ['--set', 'training.batchPairs=10', '--gpus', '4'];
    const { stdout } = await sralign(['plan', tinyConfig(folder), '--memory', '1GiB', ...set, ...CEILINGS]);
    expect(stdout).toMatch(/^full +yes +[\d.]+ MiB +fits +null \(3\) /m);
  });

  it.each(['0', '-1', 'much', ''])('refuses --tflops "%s"', async tflops => {
    using folder = new TemporaryFolder();
    const args = ['plan', tinyConfig(folder), '--memory', '1GiB', `--tflops=${tflops}`];
    expect(await sralign(args)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('It must be a number greater than 0.'),
    });
  });

  it('reads sizes as Docker and systemd write them', async () => {
    using folder = new TemporaryFolder();
    for (const [memory, bytes] of [
      ['24G', 24 * 2 ** 30],
      ['24Gi', 24 * 2 ** 30],
      ['512m', 512 * 2 ** 20],
      ['24GB', 24e9],
    ] as const) {
      const { stdout } = await sralign([
        'plan',
        tinyConfig(folder),
        '--memory',
        memory,
        '--json',
        ...CEILINGS,
      ]);
      expect(JSON.parse(stdout).memoryBytes).toBe(bytes);
    }
  });

  it('refuses a size without a unit, and asks for the memory', async () => {
    using folder = new TemporaryFolder();
    const config = tinyConfig(folder);
    for (const memory of ['80', 'GiB', '-1GB', '0GB']) {
      const { code, stderr } = await sralign(['plan', config, '--memory', memory]);
      expect(code).toBe(2);
      expect(stderr).toContain('80GiB');
    }
    expect(await sralign(['plan', config])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--memory'),
    });
  });
});
