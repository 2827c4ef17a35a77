import { mkdtemp, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { configJsonSchema, describeConfig } from '../../src/config/describe.js';
import { loadConfig, parseConfig, stringifyConfig } from '../../src/config/load.js';
import { DEFAULT_AUGMENTATION_PROMPT } from '../../src/config/schema.js';
import { ConfigError } from '../../src/errors.js';

const minimal = {
  method: 'sr-dpo',
  model: { path: 'model' },
  data: { format: 'hh', train: 'train.jsonl' },
  output: { folder: 'run' },
};

/** The message of the ConfigError that `minimal` with `changes` (a dotted path each) gives. */
function messageOf(changes: Record<string, unknown>): string {
  const value = structuredClone(minimal) as Record<string, unknown>;
  for (const [path, leaf] of Object.entries(changes)) {
    const names = path.split('.');
    let section = value;
    for (const name of names.slice(0, -1)) {
      section[name] ??= {};
      section = section[name] as Record<string, unknown>;
    }
    section[names.at(-1)!] = leaf;
  }
  try {
    parseConfig(value, 'c.yaml');
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  return 'no error';
}

describe('paths', () => {
  it('expand ~ in every key that holds one, in the file and behind --set', async () => {
    const file = await writeConfig(`method: dpo
model: { path: ~/models/a, tokenizer: ~/models/b }
data: { format: hh, train: [~/a.jsonl, b/~/c.jsonl], eval: ~/e.jsonl }
reference: { model: ~/ref, cacheFolder: '~' }
output: { folder: runs/~ }
`);
    const home = homedir();
    const config = await loadConfig(file, ['output.folder=~/runs/x']);
    expect(config).toMatchObject({
      model: { path: join(home, 'models/a'), tokenizer: join(home, 'models/b') },
      data: { train: [join(home, 'a.jsonl'), 'b/~/c.jsonl'], eval: [join(home, 'e.jsonl')] },
      reference: { model: join(home, 'ref'), cacheFolder: home },
      output: { folder: join(home, 'runs/x') },
    });
  });
});

async function writeConfig(yaml: string): Promise<string> {
  const file = join(await mkdtemp(join(tmpdir(), 'sralign-config-')), 'run.yaml');
  await writeFile(file, yaml);
  return file;
}

const MINIMAL_YAML = `method: sr-dpo
model:
  path: model
data:
  format: hh
  train: train.jsonl
output:
  folder: run
`;

describe('defaults', () => {
  it('are those of the paper and the original code', () => {
    const config = parseConfig(minimal);
    expect(config.data.train).toEqual(['train.jsonl']);
    expect(config.loss).toEqual({ beta: 0.1, lambda: 0.3, labelSmoothing: 0, logpReduction: 'sum' });
    expect(config.optimizer).toMatchObject({
      name: 'rmsprop',
      learningRate: 5e-7,
      alpha: 0.99,
      epsilon: 1e-8,
    });
    expect(config.schedule).toEqual({ name: 'constant', warmupSteps: 150 });
    expect(config.training).toMatchObject({
      batchPairs: 64,
      microbatchPairs: null,
      activationCheckpointing: false,
      maxGradNorm: 10,
      seed: 0,
    });
    expect(config.checkpoint).toEqual({ everySteps: null, everyMinutes: 10, keepLast: 2, keepBest: null });
    expect(config.tokens).toEqual({
      maxTokens: 512,
      maxPromptTokens: 256,
      longPrompt: 'error',
      chatTemplate: null,
    });
    expect(config.augmentation.prompt).toBe(DEFAULT_AUGMENTATION_PROMPT);
    expect(DEFAULT_AUGMENTATION_PROMPT).toMatch(/^Please generate .* 1 is the minimum\. Query:$/);
  });

  it('survive a round through YAML', () => {
    const config = parseConfig({
      ...minimal,
      augmentation: { prompt: '' },
      optimizer: { learningRate: 1e-6 },
    });
    expect(parseConfig(parse(stringifyConfig(config)))).toEqual(config);
  });
});

describe('wrong values', () => {
  it.each([
    [{ 'loss.beta': 0 }, 'c.yaml, field "loss.beta": Expected number >0, found 0.'],
    [{ 'loss.lambda': -0.1 }, 'field "loss.lambda": Expected number >=0, found -0.1.'],
    [{ 'loss.labelSmoothing': 0.5 }, 'field "loss.labelSmoothing"'],
    [{ 'training.batchPairs': 1.5 }, 'field "training.batchPairs": Expected int, found 1.5.'],
    [{ 'training.seed': 'x' }, 'field "training.seed": Expected number, found "x".'],
    [{ 'data.train': [] }, 'field "data.train": Expected at least one file'],
    [
      { 'data.train': 3 },
      'field "data.train": Expected a path, a source with keys such as path or hub, or a list',
    ],
    [{ 'data.train': {} }, 'field "data.train": Expected either path or hub in a source'],
    [{ 'data.train': ['a', { path: 'b', hub: 'c' }] }, 'field "data.train.1": Expected either path or hub'],
    [{ 'data.train': { path: 'b', revision: 'c' } }, 'Expected hub beside revision'],
    [
      { 'data.train': [{ path: 'b', weight: 0 }] },
      'field "data.train.0.weight": Expected number >0, found 0.',
    ],
    [{ 'data.eval': [{ path: 'b', name: 'a b' }] }, 'field "data.eval.0.name": Expected letters, digits'],
    [
      { 'data.train': [{ path: 'b', wieght: 2 }] },
      'field "data.train.0.wieght": Unknown key. Did you mean "data.train.0.weight"?',
    ],
    [
      { 'data.train': [{ path: 'b', columns: { promt: 'x' } }] },
      'Did you mean "data.train.0.columns.prompt"?',
    ],
    [{ 'data.columns': { promt: 'x' } }, 'Did you mean "data.columns.prompt"?'],
    [
      { 'data.columns': { query: 'x' } },
      'Known fields here: prompt, instruction, input, system, chosen, rejected',
    ],
    [{ 'model.path': '' }, 'field "model.path": Expected string that is not empty'],
    [
      { method: 'srdpo' },
      'Expected one of sft, dpo, ipo, sr-dpo, sr-ipo, found "srdpo". Did you mean "sr-dpo"?',
    ],
    [{ method: 'sigmoid' }, 'found "sigmoid". Here it is dpo.'],
    [{ method: 'robust' }, 'found "robust". Here it is dpo, with loss.labelSmoothing.'],
    [{ method: 'simpo' }, 'found "simpo". sralign does not have simpo.'],
    [{ 'checkpoint.keepLast': 'some' }, 'Expected number, or one of all, found "some".'],
    [{ 'output.folder': undefined }, 'field "output.folder": This key is required.'],
    [{ logging: null }, 'field "logging": Expected a mapping of keys to values, found null.'],
  ])('%j', (changes, message) => {
    expect(messageOf(changes)).toContain(message);
  });

  it('refuses what is not a mapping', () => {
    expect(() => parseConfig('method: dpo')).toThrow('Expected a mapping of keys to values');
  });
});

describe('sources of data', () => {
  it('are paths or records, one or several, with ~ as the home folder', () => {
    const source = { path: '~/a', split: 'train', weight: 0.5, name: 'a' };
    const eval_ = { hub: 'org/pairs', config: 'default', revision: 'v1', columns: { prompt: 'question' } };
    const config = parseConfig({ ...minimal, data: { train: ['~/b.jsonl', source], eval: eval_ } });
    expect(config.data.train).toEqual([
      join(homedir(), 'b.jsonl'),
      { ...source, path: join(homedir(), 'a') },
    ]);
    expect(config.data.eval).toEqual([eval_]);
    expect(parseConfig(parse(stringifyConfig(config)))).toEqual(config);
  });
});

it.each([
  { answer_0: 'bad', answer_1: 'good' },
  { instruction: 'task', input: 'text', tools: 'functions' },
])('columns are named as the messages and docs say: %o', columns => {
  expect(parseConfig({ ...minimal, data: { train: 'train.jsonl', columns } }).data.columns).toEqual(columns);
});

describe('unknown keys', () => {
  it.each([
    [{ 'loss.bta': 1 }, 'field "loss.bta": Unknown key. Did you mean "loss.beta"?'],
    [{ learning_rate: 1e-6 }, 'Here it is "optimizer.learningRate".'],
    [{ train_batch_size: 8 }, 'Here it is "training.batchPairs".'],
    [{ output_dir: 'x' }, 'Here it is "output.folder".'],
    [{ 'training.batch_pairs': 8 }, 'Did you mean "training.batchPairs"?'],
    [{ learningRate: 1e-6 }, 'Here it is "optimizer.learningRate".'],
    [{ trainning: {} }, 'Did you mean "training"?'],
    [{ 'sft.zzzzzzzzzz': 1 }, 'Known keys here: reduction, turns.'],
    [
      { 'training.per_device_train_batch_size': 8 },
      'Here "training.microbatchPairs" is what one device computes at once, and "training.batchPairs" what all',
    ],
    [
      { gradient_accumulation_steps: 4 },
      'Here it follows from "training.batchPairs", the pairs of an optimizer step: per_device_train_batch_size x ' +
        'gradient_accumulation_steps x devices.',
    ],
    [{ 'schedule.warmup_ratio': 0.1 }, 'Here "schedule.warmupSteps" counts the steps of the warm-up.'],
    [
      { 'loss.type': 'simpo' },
      'Unknown key. Here it is "method": one of sft, dpo, ipo, sr-dpo, sr-ipo. sralign does not have simpo.',
    ],
    [
      { loss_type: 'sigmoid' },
      'Unknown key. Here it is "method": one of sft, dpo, ipo, sr-dpo, sr-ipo. sigmoid is here dpo.',
    ],
  ])('%j', (changes, message) => {
    expect(messageOf(changes)).toContain(message);
  });

  it('are named before what they leave missing', () => {
    const { output: _, ...rest } = minimal;
    expect(() => parseConfig({ ...rest, ouput: { folder: 'run' } })).toThrow(
      /^field "ouput": Unknown key\. Did you mean "output"\?$/,
    );
  });
});

describe('several mistakes', () => {
  const several = { 'loss.beta': -1, 'loss.bta': 1, 'tokens.maxTokens': 'many', 'model.path': undefined };

  it('are all named, and each is kept', () => {
    const lines = messageOf(several).split('\n');
    expect(lines).toEqual([
      'There are 4 mistakes in the configuration:',
      '  c.yaml, field "loss.bta": Unknown key. Did you mean "loss.beta"?',
      '  c.yaml, field "model.path": This key is required.',
      '  c.yaml, field "tokens.maxTokens": Expected number, found "many".',
      '  c.yaml, field "loss.beta": Expected number >0, found -1.',
    ]);
  });

  it('are kept one by one for programs', () => {
    const value = { ...minimal, loss: { beta: -1, lambda: -1 } };
    const error = (() => {
      try {
        return parseConfig(value, 'c.yaml');
      } catch (error) {
        return error as ConfigError;
      }
    })() as ConfigError;
    expect(error.details.mistakes?.map(({ details }) => details.field)).toEqual(['loss.beta', 'loss.lambda']);
  });

  it('are ten, and a count of the others', () => {
    const unknown = Object.fromEntries(Array.from({ length: 14 }, (_, i) => [`unknown${i}`, 1]));
    expect(messageOf(unknown)).toMatch(/^There are 14 mistakes.* {2}and 4 more$/s);
  });

  it('of keys that disagree are all named', () => {
    const message = messageOf({ 'tokens.maxPromptTokens': 512, 'evaluation.everySteps': 10 });
    expect(message).toContain('There are 2 mistakes');
    expect(message).toContain('512 leaves no room');
    expect(message).toContain('data.eval is empty');
  });

  it('of --set are all named', async () => {
    const file = await writeConfig(MINIMAL_YAML);
    await expect(loadConfig(file, ['loss.beta', 'method.x=1'])).rejects.toThrow(
      /There are 2 mistakes.*--set loss\.beta: Expected path.*--set method\.x=1: "method" is a value/s,
    );
  });

  it('have their lines in lists too', async () => {
    const listed = MINIMAL_YAML.replace(
      'train: train.jsonl',
      'train:\n    - a.jsonl\n    - path: b.jsonl\n      weight: 0',
    );
    const file = await writeConfig(listed);
    await expect(loadConfig(file)).rejects.toThrow(`${file}:9:7, field "data.train.1.weight": Expected`);
  });

  it('have their lines in the file', async () => {
    const file = await writeConfig(`${MINIMAL_YAML}loss:\n  beta: 0\n  lambda: x\n`);
    await expect(loadConfig(file)).rejects.toThrow(
      `  ${file}:10:3, field "loss.beta": Expected number >0, found 0.\n  ${file}:11:3, field "loss.lambda": `,
    );
  });
});

describe('keys that disagree', () => {
  it.each([
    [{ 'tokens.maxPromptTokens': 512 }, 'field "tokens.maxPromptTokens": 512 leaves no room'],
    [{ 'training.microbatchPairs': 24 }, 'field "training.microbatchPairs": 24 does not divide'],
    [{ 'augmentation.placement': 'last-user-turn' }, 'needs chat data'],
    [{ method: 'ipo', 'loss.labelSmoothing': 0.1 }, 'not for ipo'],
    [{ 'evaluation.everySteps': 10 }, 'data.eval is empty'],
    [{ 'evaluation.patience': 2 }, 'field "evaluation.patience": Nothing says which evaluation is better'],
    [{ 'output.model': 'best' }, 'field "output.model": No best checkpoint is kept'],
    [{ 'checkpoint.keepBest': 'eval_loss' }, 'field "checkpoint.keepBest": There is nothing to choose from'],
    [
      {
        method: 'sft',
        'checkpoint.keepBest': 'eval_rewards/accuracies',
        'evaluation.everySteps': 10,
        'data.eval': 'eval.jsonl',
      },
      'field "checkpoint.keepBest": sft has no accuracies',
    ],
    [{ 'checkpoint.keepLast': 'some' }, 'field "checkpoint.keepLast"'],
    [
      {
        'checkpoint.keepBest': 'eval_other_loss',
        'evaluation.everySteps': 10,
        'data.eval': ['e.jsonl', { path: 'f.jsonl', name: 'help' }],
      },
      'field "checkpoint.keepBest": No source of data.eval has the name other. There are help.',
    ],
    [
      { 'checkpoint.keepBest': 'loss' },
      'field "checkpoint.keepBest": Expected eval_loss or eval_rewards/accuracies',
    ],
  ])('%j', (changes, message) => {
    expect(messageOf(changes)).toContain(message);
  });
});

describe('loadConfig', () => {
  it('reads a file, with overrides on top', async () => {
    const file = await writeConfig(MINIMAL_YAML);
    const config = await loadConfig(file, [
      'loss.beta=0.5',
      'data.train=[a.jsonl, b.jsonl]',
      'tokens.maxTokens=1024',
    ]);
    expect(config.loss.beta).toBe(0.5);
    expect(config.data.train).toEqual(['a.jsonl', 'b.jsonl']);
    expect(config.tokens.maxTokens).toBe(1024);
    expect(config.model.path).toBe('model');
  });

  it('reads an override as YAML', async () => {
    const config = await loadConfig(await writeConfig(MINIMAL_YAML), [
      'training.maxSteps=null',
      'optimizer.learningRate=1e-6',
      'augmentation.prompt="a: b"',
    ]);
    expect(config.training.maxSteps).toBeNull();
    expect(config.optimizer.learningRate).toBe(1e-6);
    expect(config.augmentation.prompt).toBe('a: b');
  });

  it('takes nothing behind = for an empty text, where a text may be empty', async () => {
    const config = await loadConfig(await writeConfig(MINIMAL_YAML), [
      'augmentation.prompt=',
      'augmentation.separator=',
      'model.tokenizer=',
      'training.maxSteps=',
    ]);
    expect(config.augmentation).toMatchObject({ prompt: '', separator: '' });
    expect(config.model.tokenizer).toBeNull();
    expect(config.training.maxSteps).toBeNull();
  });

  it.each([
    ['loss:\n  beta: -1\n', ':10:3, field "loss.beta"'],
    ['loss:\n  lambda: 1\n  bta: 1\n', ':11:3, field "loss.bta": Unknown key.'],
    ['training: { microbatchPairs: 5 }\n', ':9:13, field "training.microbatchPairs"'],
    ['method: dpo\n', ':9:1: This is not valid YAML: The key "method" stands there twice.'],
    ['loss: [1\n', 'This is not valid YAML'],
  ])('names the line and column: %j', async (yaml, message) => {
    const file = await writeConfig(MINIMAL_YAML + yaml);
    const error = await loadConfig(file).catch(e => e);
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toContain(file);
    expect(error.message).toContain(message);
    expect(error.message).not.toContain('\n');
  });

  it('names a missing key by the section that lacks it', async () => {
    const file = await writeConfig(MINIMAL_YAML.replace('path:', 'revision:'));
    await expect(loadConfig(file)).rejects.toThrow(`${file}:2:1, field "model.path": This key is required.`);
  });

  it.each([
    ['loss.beta=0', '--set loss.beta=0, field "loss.beta": Expected number >0'],
    ['loss.gamma=0', '--set loss.gamma=0, field "loss.gamma": Unknown key.'],
    ['bogus.key=1', '--set bogus.key=1, field "bogus": Unknown key.'],
    ['loss.beta', '--set loss.beta: Expected path.of.key=value.'],
    ['method.x=1', '--set method.x=1: "method" is a value'],
    ['loss={beta: 0}', '--set loss={beta: 0}, field "loss.beta"'],
    ['data.train=[', '--set data.train=[: This is not valid YAML: Flow sequence must end with a ].'],
  ])('names a wrong override: %s', async (override, message) => {
    await expect(loadConfig(await writeConfig(MINIMAL_YAML), [override])).rejects.toThrow(message);
  });

  it('refuses files that are missing or empty', async () => {
    await expect(loadConfig('no/such.yaml')).rejects.toThrow(
      'no/such.yaml: The configuration cannot be read',
    );
    const empty = await writeConfig('# nothing\n');
    await expect(loadConfig(empty)).rejects.toThrow('is not a mapping');
  });
});

describe('descriptions', () => {
  it('cover every key of a configuration, each with its default', () => {
    const config = parseConfig({ ...minimal, data: { train: 'train.jsonl' } });
    const keys = describeConfig();
    const paths = Object.entries(config).flatMap(([name, section]) =>
      typeof section === 'object' ? Object.keys(section).map(key => `${name}.${key}`) : [name],
    );
    expect(keys.map(({ path }) => path).sort()).toEqual(paths.sort());
    for (const { path, default: value, description } of keys) {
      expect(description, path).not.toBe('');
      if (value === undefined) continue;
      const [section, key] = path.split('.') as [keyof typeof config, string];
      expect((config[section] as Record<string, unknown>)[key], path).toEqual(value);
    }
  });

  it('name types and TRL twins', () => {
    const byPath = new Map(describeConfig().map(key => [key.path, key]));
    expect(byPath.get('optimizer.learningRate')).toMatchObject({
      type: 'number',
      trl: ['learning_rate', 'lr'],
    });
    expect(byPath.get('training.maxSteps')).toMatchObject({ type: 'integer | null', default: null });
    expect(byPath.get('data.train')!.type).toBe('string | source | list of string | source');
    expect(byPath.get('method')).toMatchObject({
      type: 'sft | dpo | ipo | sr-dpo | sr-ipo',
      default: undefined,
    });
  });

  it('use a TRL name once', () => {
    const names = describeConfig().flatMap(({ trl }) => trl);
    expect(new Set(names).size).toBe(names.length);
  });

  it('make a JSON Schema that requires what has no default', () => {
    expect(configJsonSchema()).toMatchObject({
      required: ['method', 'model', 'data', 'output'],
      additionalProperties: false,
    });
  });
});
