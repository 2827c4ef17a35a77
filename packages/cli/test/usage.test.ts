/** Help, versions, and what the command says to wrong usage. */
import { describe, expect, it } from 'vitest';
import { sralign } from './run.js';

describe('help', () => {
  it('is printed by plain sralign, which succeeds', async () => {
    const { code, stdout, stderr } = await sralign([]);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    for (const verb of ['train', 'generate', 'data', 'verify', 'consolidate', 'doctor'])
      expect(stdout).toMatch(new RegExp(`^ +${verb} `, 'm'));
  });

  it.each([['train'], ['generate'], ['data', 'preview'], ['verify'], ['consolidate'], ['doctor']])(
    'of %s %s has a usage line and at least two examples',
    async (...verb) => {
      const { code, stdout } = await sralign([...verb, '--help']);
      expect(code).toBe(0);
      expect(stdout).toContain(`Usage: sralign ${verb.join(' ')}`);
      expect(stdout.match(/^ {2}\$ sralign /gm)?.length).toBeGreaterThanOrEqual(2);
    },
  );

  it('has a version', async () => {
    const { code, stdout } = await sralign(['--version']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('wrong usage exits with 2 and says what was meant', () => {
  it.each([
    ['an unknown verb', ['trian', 'x.yaml'], 'Did you mean train?'],
    ['an unknown option', ['train', 'x.yaml', '--resme'], 'Did you mean --resume?'],
    ['a missing argument', ['train'], "missing required argument 'config'"],
    ['a missing option', ['generate', 'model'], '--prompt'],
    ['options that exclude each other', ['train', 'x.yaml', '--resume', '--overwrite'], 'exclude each other'],
    ['a wrong number', ['generate', 'model', '--prompt', 'a', '--max-new-tokens', '1.5'], 'whole number'],
    ['a wrong type', ['verify', 'case', '--dtype', 'f64'], 'Allowed choices are f32, bf16'],
    ['data without a verb', ['data'], 'preview'],
  ])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await sralign(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(message);
  });
});
