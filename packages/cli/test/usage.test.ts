/** Help, versions, and what the command says to wrong usage. */
import { describe, expect, it } from 'vitest';
import { MODEL, sralign, TemporaryFolder } from './run.js';
import { tinyConfig } from './tiny.js';

describe('help', () => {
  it('is printed by plain sralign, which succeeds', async () => {
    const { code, stdout, stderr } = await sralign([]);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    for (const verb of [
      'init',
      'train',
      'launch',
      'generate',
      'data',
      'plan',
      'verify',
      'consolidate',
      'doctor',
    ])
      expect(stdout).toMatch(new RegExp(`^ +${verb} `, 'm'));
  });

  it.each([
    ['init'],
    ['train'],
    ['launch'],
    ['plan'],
    ['generate'],
    ['data', 'preview'],
    ['verify'],
    ['consolidate'],
    ['doctor'],
  ])('of %s %s has a usage line and at least two examples', async (...verb) => {
    const { code, stdout } = await sralign([...verb, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: sralign ${verb.join(' ')}`);
    expect(stdout.match(/^ {2}\$ sralign /gm)?.length).toBeGreaterThanOrEqual(2);
  });

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
    [
      'an unknown verb that is near none',
      ['chat', 'model'],
      'Commands: init, train, launch, generate, data, plan, consolidate, verify, doctor. `sralign --help` says what they do.',
    ],
    ['an unknown verb of data', ['data', 'show'], 'Commands: preview.'],
    [
      'an option that is given twice',
      ['generate', MODEL, '--prompt', 'a', '--prompt', 'b'],
      "error: option '--prompt <text>' takes one value and is given twice",
    ],
    ['a number that is given twice', ['data', 'preview', 'x', '--rows', '1', '--rows=2'], 'is given twice'],
  ])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await sralign(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(message);
  });
});

describe('--loss.beta=0.05 is --set loss.beta=0.05', () => {
  it('of an empty text too, and a wrong one is named', async () => {
    using folder = new TemporaryFolder();
    const preview = (...args: string[]) =>
      sralign(['data', 'preview', tinyConfig(folder), '--rows', '1', ...args]);
    const { code, stdout } = await preview('--augmentation.prompt=', '--json');
    expect(code).toBe(0);
    const [row] = (JSON.parse(stdout) as { rows: Record<string, { text: string }>[] }).rows;
    expect(row!.augmentedPrompt!.text).toBe(row!.prompt!.text);
    const wrong = await preview('--loss.beta=0');
    expect(wrong.stderr).toContain('--set loss.beta=0, field "loss.beta": Expected number >0, found 0.');
    expect(wrong.code).toBe(2);
  });
});

describe('under --json stdout holds one object, also where a command fails', () => {
  const nowhere = '/nowhere/x';
  it.each([
    [['train', nowhere], { code: 'ERR_CONFIG', exitCode: 2, file: nowhere }],
    [['data', 'preview', nowhere], { code: 'ERR_CONFIG', exitCode: 2, file: nowhere }],
    [['plan', nowhere, '--memory', '8GiB'], { code: 'ERR_CONFIG', exitCode: 2, file: nowhere }],
    [['generate', nowhere, '--prompt', 'a'], { code: 'ERR_MODEL', exitCode: 2, file: nowhere }],
    [['verify', nowhere], { code: 'ERR_MODEL', exitCode: 2 }],
    [['consolidate', nowhere, '/nowhere/y'], { code: 'ERR_CHECKPOINT', exitCode: 2, file: nowhere }],
    [['doctor', '--quick'], { code: 'ERR_USAGE', exitCode: 2 }],
    [['trian'], { code: 'ERR_USAGE', exitCode: 2 }],
    [['launch', '--nproc', '1', 'doctor'], { code: 'ERR_USAGE', exitCode: 2 }],
  ])('%j', async (args, expected) => {
    const { code, stdout, stderr } = await sralign([...args, '--json']);
    const { error } = JSON.parse(stdout) as { error: { message: string; exitCode: number } };
    expect(error).toMatchObject(expected);
    expect(code).toBe(error.exitCode);
    expect(stderr.replace(/^sralign: /, '').trim()).toBe(error.message);
  });

  it('a failure of the training thread has its place, and mistakes of a configuration have theirs', async () => {
    using folder = new TemporaryFolder();
    const file = folder.write('rows.jsonl', '{"prompt": "a", "chosen": "b"}\n');
    const set = [
      `data.train=${file}`,
      'data.format=preference',
      'data.eval=[]',
      'evaluation.everySteps=null',
    ];
    const run = (...changes: string[]) =>
      sralign(['train', tinyConfig(folder), '--json', ...changes.flatMap(change => ['--set', change])]);
    const { error } = JSON.parse((await run(...set)).stdout);
    expect(error).toMatchObject({ code: 'ERR_DATA', exitCode: 2, file, row: 1 });
    const { error: several } = JSON.parse((await run('loss.beta=0', 'loss.lambda=-1')).stdout);
    expect(several.mistakes).toMatchObject([{ field: 'loss.beta' }, { field: 'loss.lambda' }]);
  });

  it('results', async () => {
    using folder = new TemporaryFolder();
    const { stdout } = await sralign([
      'generate',
      MODEL,
      '--prompt',
      'One day',
      '--max-new-tokens',
      '5',
      '--json',
    ]);
    expect(JSON.parse(stdout)).toMatchObject({ prompt: 'One day', text: expect.stringMatching(/\S/) });
    const preview = await sralign(['data', 'preview', tinyConfig(folder), '--rows', '2', '--json']);
    expect(JSON.parse(preview.stdout)).toMatchObject({
      rows: [{ fate: expect.any(String), prompt: { tokens: expect.any(Number) } }, {}],
      reports: [{ purpose: 'training', pairs: 8 }],
      lengths: { pairs: 8 },
    });
  });
});
