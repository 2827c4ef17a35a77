/** A checkpoint in the shards of two ranks is a model like any other: for generate, as the policy, as the reference, for preview. */
import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { sralign, TemporaryFolder } from './run.js';
import { tinyConfig } from './tiny.js';

it('loads without consolidate, by RUN@step', async () => {
  using folder = new TemporaryFolder();
  const config = tinyConfig(folder);
  const set = (...changes: string[]): string[] => changes.flatMap(change => ['--set', change]);
  const short = ['data.eval=[]', 'evaluation.everySteps=null', 'method=dpo'];
  const launched = await sralign([
    'launch',
    '--nproc',
    '2',
    'train',
    config,
    ...set('training.maxSteps=2', ...short),
  ]);
  expect(launched.code).toBe(0);
  const sharded = `${folder.join('run')}@2`;
  expect(existsSync(folder.join('run/checkpoints/step-000002/shards.json'))).toBe(true);

  const ask = (model: string) =>
    sralign(['generate', model, '--prompt', 'One day', '--max-new-tokens', '20']);
  const [ofShards, ofFinal] = [await ask(sharded), await ask(folder.join('run'))];
  expect(ofShards.code).toBe(0);
  expect(ofShards.stdout).toBe(ofFinal.stdout);

  const next = [`model.path=${sharded}`, `reference.model=${sharded}`, 'training.maxSteps=1', ...short];
  const preview = await sralign(['data', 'preview', config, '--rows', '0', ...set(...next)]);
  expect(preview.code).toBe(0);
  const plan = await sralign(['plan', config, '--memory', '8GiB', '--json', ...set(...next)]);
  expect(plan.code).toBe(0);
  const trained = await sralign(['train', config, ...set(...next, `output.folder=${folder.join('next')}`)]);
  expect(trained.stderr).not.toMatch(/^sralign: /m);
  expect(trained.code).toBe(0);
  expect((await sralign(['consolidate', sharded, folder.join('whole')])).code).toBe(0);

  // The run that is read must not be deleted.
  const overwrite = await sralign(['train', config, '--overwrite', ...set(...next)]);
  expect(overwrite.stderr).toMatch(
    /field "output\.folder": --overwrite deletes the run .*model\.path lies in it/,
  );
  expect(overwrite.code).toBe(2);
});
