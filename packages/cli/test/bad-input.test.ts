/** Every kind of bad input ends with its exit code and one clear message: no stack trace, no partial output. */
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hhLines, MODEL, sralign, TemporaryFolder } from './run.js';
import { tinyConfig } from './tiny.js';

interface BadInput {
  name: string;
  /** Prepares the input; returns `--set` assignments. */
  arrange: (folder: TemporaryFolder) => string[];
  /** What the message must hold. */
  says: (RegExp | string)[];
  exitCode?: number;
}

/** A copy of the model that a test may damage. */
function modelCopy(folder: TemporaryFolder): string {
  const copy = folder.join('model');
  cpSync(MODEL, copy, { recursive: true });
  chmodSync(copy, 0o755);
  return copy;
}

function editJson(file: string, edit: (value: Record<string, unknown>) => void): void {
  const value = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  edit(value);
  writeFileSync(file, JSON.stringify(value));
}

/** Rewrites the weights with another JSON header and, if given, other data. */
function editWeights(
  model: string,
  edit: (header: Record<string, { data_offsets: [number, number] }>, data: Buffer) => void,
): void {
  const file = join(model, 'model.safetensors');
  const bytes = readFileSync(file);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  const data = Buffer.from(bytes.subarray(8 + headerBytes));
  edit(header, data);
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(file, Buffer.concat([length, text, data]));
}

const pair = (fields: Record<string, unknown>): string => JSON.stringify(fields);
const good = pair({ prompt: 'a b', chosen: ' c', rejected: ' d' });
const preference = (file: string): string[] => [
  'data.format=preference',
  `data.train=${file}`,
  'data.eval=[]',
  'evaluation.everySteps=null',
];

const CASES: BadInput[] = [
  {
    name: 'an unknown configuration key',
    arrange: () => ['loss.betta=0.1'],
    says: ['loss.betta', 'loss.beta'],
  },
  { name: 'beta 0', arrange: () => ['loss.beta=0'], says: ['loss.beta'] },
  { name: 'a negative lambda', arrange: () => ['loss.lambda=-1'], says: ['loss.lambda'] },
  { name: 'an unknown method', arrange: () => ['method=sr-dpp'], says: ['method', 'sr-dpo'] },
  {
    name: 'a model folder without weights',
    arrange: folder => {
      const model = modelCopy(folder);
      rmSync(join(model, 'model.safetensors'));
      return [`model.path=${model}`];
    },
    says: ['model.safetensors'],
  },
  {
    name: 'truncated weights',
    arrange: folder => {
      const model = modelCopy(folder);
      const file = join(model, 'model.safetensors');
      writeFileSync(file, readFileSync(file).subarray(0, 500_000));
      return [`model.path=${model}`];
    },
    says: ['model.safetensors', /truncat|end|beyond/],
  },
  {
    name: 'a weights header that claims to be huge',
    arrange: folder => {
      const model = modelCopy(folder);
      const file = join(model, 'model.safetensors');
      const bytes = readFileSync(file);
      bytes.writeBigUInt64LE(2n ** 40n, 0);
      writeFileSync(file, bytes);
      return [`model.path=${model}`];
    },
    says: ['model.safetensors', 'header'],
  },
  {
    name: 'overlapping tensors in the weights',
    arrange: folder => {
      const model = modelCopy(folder);
      editWeights(model, header => {
        const [first, second] = Object.values(header).filter(entry => entry.data_offsets !== undefined);
        const length = second!.data_offsets[1] - second!.data_offsets[0];
        const start = first!.data_offsets[0] + 4;
        second!.data_offsets = [start, start + length];
      });
      return [`model.path=${model}`];
    },
    says: ['model.safetensors', /overlap/],
  },
  {
    name: 'NaN in the weights',
    arrange: folder => {
      const model = modelCopy(folder);
      editWeights(model, (_, data) => data.writeFloatLE(Number.NaN, 400));
      return [`model.path=${model}`];
    },
    says: [/NaN|not finite|not a number/i],
  },
  {
    name: 'an unknown architecture',
    arrange: folder => {
      const model = modelCopy(folder);
      editJson(join(model, 'config.json'), config => {
        config.model_type = 'mamba';
        config.architectures = ['MambaForCausalLM'];
      });
      return [`model.path=${model}`];
    },
    says: ['config.json', 'mamba'],
  },
  {
    name: 'a vocabulary smaller than the tokenizer',
    arrange: folder => {
      const model = modelCopy(folder);
      editJson(join(model, 'config.json'), config => {
        config.vocab_size = 300;
      });
      return [`model.path=${model}`];
    },
    says: [/vocab/],
  },
  {
    name: 'a missing tokenizer',
    arrange: folder => {
      const model = modelCopy(folder);
      rmSync(join(model, 'tokenizer.json'));
      return [`model.path=${model}`];
    },
    says: ['tokenizer.json'],
  },
  {
    name: 'a model folder that is not there',
    arrange: folder => [`model.path=${folder.join('nowhere')}`],
    says: ['nowhere'],
  },
  {
    name: 'an empty data set',
    arrange: folder => preference(folder.write('empty.jsonl', '')),
    says: ['empty.jsonl', 'no record'],
  },
  {
    name: 'a data file that is not there',
    arrange: folder => preference(folder.join('missing.jsonl')),
    says: ['missing.jsonl'],
  },
  {
    name: 'a row that is not JSON',
    arrange: folder => preference(folder.write('rows.jsonl', `${good}\n{"prompt": \n`)),
    says: ['rows.jsonl:2'],
  },
  {
    name: 'a row without a field',
    arrange: folder =>
      preference(folder.write('rows.jsonl', `${good}\n${pair({ prompt: 'a', chosen: ' b' })}\n`)),
    says: ['rows.jsonl:2', 'rejected'],
  },
  {
    name: 'nothing but equal answers',
    arrange: folder => {
      const same = pair({ prompt: 'a', chosen: ' b', rejected: ' b' });
      return preference(folder.write('rows.jsonl', `${same}\n${same}\n`));
    },
    says: ['rows.jsonl', 'chosen equals rejected'],
  },
  {
    name: 'a prompt longer than the limit',
    arrange: folder => {
      const long = pair({ prompt: 'word '.repeat(200), chosen: ' b', rejected: ' c' });
      const file = folder.write('rows.jsonl', `${good}\n${long}\n`);
      return [...preference(file), 'tokens.longPrompt=error'];
    },
    says: ['rows.jsonl:2', 'tokens.longPrompt'],
  },
  {
    name: 'p longer than its limit',
    arrange: () => ['augmentation.maxTokens=20'],
    says: ['augmentation.maxTokens'],
  },
  {
    name: 'sequences longer than the model has positions',
    arrange: folder => {
      const model = modelCopy(folder);
      editJson(join(model, 'config.json'), config => {
        config.max_position_embeddings = 64;
      });
      return [`model.path=${model}`];
    },
    says: ['positions'],
  },
  {
    name: 'a reference model with a smaller vocabulary',
    arrange: folder => {
      const model = modelCopy(folder);
      editJson(join(model, 'config.json'), config => {
        config.vocab_size = 300;
      });
      return [`reference.model=${model}`];
    },
    says: [/jsonl\.gz:\d+, field "reference\.model": .* has a vocabulary of 300/, 'tokenizer of the policy'],
  },
  {
    name: 'a reference model with fewer positions',
    arrange: folder => {
      const model = modelCopy(folder);
      editJson(join(model, 'config.json'), config => {
        config.max_position_embeddings = 64;
      });
      return [`reference.model=${model}`];
    },
    says: [
      /jsonl\.gz:\d+, field "reference\.model": .* the reference model's 64 positions/,
      'tokens.maxTokens',
    ],
  },
  {
    name: 'a reference model with another tokenizer',
    arrange: folder => {
      const model = modelCopy(folder);
      editJson(join(model, 'tokenizer.json'), tokenizer => {
        const { vocab } = tokenizer.model as { vocab: Record<string, number> };
        [vocab['▁the'], vocab['▁and']] = [vocab['▁and']!, vocab['▁the']!];
      });
      return [`reference.model=${model}`];
    },
    says: [/field "reference\.model": The reference model has another tokenizer: token \d+ is "/, 'policy'],
  },
  {
    name: 'a device that is not there',
    arrange: () => ['training.device=cuda:99'],
    says: [/field "training\.device": The device cuda:99 cannot be used: (?!useDevice)/, 'sralign doctor'],
  },
  {
    name: 'a thousand threads',
    arrange: () => ['training.threads=1000'],
    says: [
      /field "training\.threads": 1000 threads, but this process may use \d+/,
      /Set it to \d+, or to null/,
    ],
  },
  {
    name: 'a LoRA adapter',
    arrange: folder => {
      const model = folder.join('adapter');
      mkdirSync(model);
      folder.write('adapter/adapter_config.json', '{"base_model_name_or_path": "org/base"}');
      folder.write('adapter/adapter_model.safetensors', '');
      return [`model.path=${model}`];
    },
    says: ['adapter: This is a LoRA adapter', 'org/base', 'merge_and_unload'],
  },
  {
    name: 'a step that a run does not have',
    arrange: folder => {
      mkdirSync(folder.join('before/checkpoints/step-000020'), { recursive: true });
      return [`model.path=${folder.join('before')}@10`];
    },
    says: ['before: The run has no checkpoint of step 10. It has', 'before@20'],
  },
  {
    name: 'an output folder that cannot be written',
    arrange: folder => {
      folder.write('file', 'not a folder');
      return [`output.folder=${folder.join('file/run')}`];
    },
    says: ['file/run'],
  },
];

describe('bad input', () => {
  it.each(CASES)('$name', async ({ arrange, says, exitCode = 2 }) => {
    using folder = new TemporaryFolder();
    const set = arrange(folder).flatMap(assignment => ['--set', assignment]);
    const { code, stdout, stderr } = await sralign(['train', tinyConfig(folder), ...set]);
    for (const part of says)
      expect(stderr).toMatch(typeof part === 'string' ? new RegExp(literally(part), 'i') : part);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stderr.match(/^sralign: /gm)).toHaveLength(1);
    expect(stdout).toBe('');
    expect(code).toBe(exitCode);
    expect(existsSync(folder.join('run'))).toBe(false);
  });

  it('shows the stack trace when asked', async () => {
    using folder = new TemporaryFolder();
    const { code, stderr } = await sralign(['train', tinyConfig(folder), '--set', 'loss.beta=0', '--debug']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^\s+at /m);
  });

  it('points at file, line and column of a wrong key', async () => {
    using folder = new TemporaryFolder();
    const config = tinyConfig(folder, 'loss:\n  betta: 0.1\n');
    const { code, stderr } = await sralign(['train', config]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/config\.yaml:\d+:3.*loss\.betta/s);
  });

  it('a loss that is not finite stops with step, pair and last checkpoint, and exit code 1', async () => {
    using folder = new TemporaryFolder();
    const set = ['optimizer.learningRate=1e30', 'checkpoint.everySteps=1'].flatMap(value => ['--set', value]);
    const { code, stderr } = await sralign(['train', tinyConfig(folder), ...set]);
    expect(stderr).toMatch(/Step \d+: .*(harmless-base\.train\.jsonl\.gz:\d+|gradient norm).*checkpoint/s);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(code).toBe(1);
    expect(existsSync(folder.join('run/final'))).toBe(false);
  });

  it('of HH-RLHF: rows that hold no pair are counted, not fatal', async () => {
    using folder = new TemporaryFolder();
    const same = JSON.stringify({
      chosen: '\n\nHuman: a\n\nAssistant: b',
      rejected: '\n\nHuman: a\n\nAssistant: b',
    });
    const file = folder.write('hh.jsonl', `${[...hhLines(30), same].join('\n')}\n`);
    const args = [`data.train=${file}`, 'training.maxSteps=1', 'data.eval=[]', 'evaluation.everySteps=null'];
    const { code, stderr } = await sralign([
      'train',
      tinyConfig(folder),
      ...args.flatMap(value => ['--set', value]),
    ]);
    expect(stderr).toContain(
      '31 records, 9 pairs, 22 left out (prompt too long: 21, chosen equals rejected: 1)',
    );
    expect(code).toBe(0);
  });
});

const literally = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
