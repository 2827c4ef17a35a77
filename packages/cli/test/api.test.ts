/** The program of the README, run as a user runs it. */
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { lines, ROOT, runNode, sralign, TemporaryFolder } from './run.js';

it('trains with Sr-DPO and leaves a model folder', async () => {
  using folder = new TemporaryFolder();
  symlinkSync(join(ROOT, 'examples'), folder.join('examples'));
  const { code, stdout, stderr } = await runNode(['examples/api/train.mjs'], folder.path);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(lines(stdout)[0]).toBe('step 1  loss 0.6931  margin 0.000');
  const losses = lines(stdout).map(line => Number(/loss ([\d.]+)/.exec(line)?.[1]));
  expect(losses).toHaveLength(5);
  expect(losses.at(-1)).toBeLessThan(losses[0]!);
  const model = folder.join('runs/api');
  expect(await sralign(['generate', model, '--prompt', 'Once', '--max-new-tokens', '2'])).toMatchObject({
    code: 0,
  });
});
