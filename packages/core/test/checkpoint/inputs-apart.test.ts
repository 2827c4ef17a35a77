import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkInputsApart } from '../../src/checkpoint/inputs-apart.js';
import { CheckpointError } from '../../src/errors.js';
import { temporaryFolder } from '../support.js';

describe('checkInputsApart', () => {
  it('names an input in the output folder: itself, below it, and through links on either side', async () => {
    await using folder = await temporaryFolder();
    const at = (...parts: string[]): string => join(folder.path, ...parts);
    await mkdir(at('run', 'final'), { recursive: true });
    await writeFile(at('run', 'final', 'model.safetensors'), '');
    await symlink(at('run', 'final'), at('model'));
    await symlink(at('run'), at('same-run'));
    await mkdir(at('cache'));
    await symlink(at('run', 'final', 'model.safetensors'), at('cache', 'model.safetensors'));
    const cases = [
      ['run', 'run'],
      ['run', 'run/final'],
      ['run', 'model'],
      ['same-run', 'run/final'],
      ['run', 'same-run/final/model.safetensors'],
      ['run', 'cache'],
      ['run', 'run/not-there/yet.json'],
    ];
    for (const [output, input] of cases) {
      const refused = checkInputsApart(at(output!), [{ field: 'model.path', path: at(input!) }]);
      await expect(refused, input).rejects.toThrow(CheckpointError);
      await expect(refused, input).rejects.toThrow(`but model.path lies in it: ${at(input!)}.`);
    }
    expect(await readdir(at('run', 'final'))).toEqual(['model.safetensors']);
  });

  it('names an input that the output folder lies in', async () => {
    await using folder = await temporaryFolder();
    await expect(
      checkInputsApart(join(folder.path, 'run'), [{ field: 'model.path', path: folder.path }]),
    ).rejects.toThrow(`but it lies in model.path: ${folder.path}.`);
  });

  it('accepts what lies beside it, what has a longer name, and what is not there', async () => {
    await using folder = await temporaryFolder();
    const at = (name: string): string => join(folder.path, name);
    await mkdir(at('run'));
    await mkdir(at('run-2'));
    const paths = ['run-2', 'data.jsonl', 'gone/file'].map(at);
    await checkInputsApart(
      at('run'),
      [...paths, 'org/model'].map(path => ({ field: 'data.train', path })),
    );
  });
});
