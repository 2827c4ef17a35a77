/** `sralign init` looks at a model and a data file and writes a configuration that runs. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hhLines, MODEL, ROOT, sralign, TemporaryFolder } from './run.js';

const HH = join(ROOT, 'examples/data/hh-rlhf/harmless-base.train.jsonl.gz');

describe('sralign init', () => {
  it('writes a configuration with comments, which trains as it is', async () => {
    using folder = new TemporaryFolder();
    const [out, data] = [folder.join('first.yaml'), folder.write('some.jsonl', hhLines(20).join('\n'))];
    const { code, stdout, stderr } = await sralign(['init', MODEL, data, '--eval', data, '--out', out]);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(stdout).toContain(
      `${out}: sr-dpo on hh data. Next:\n  sralign data preview ${out}\n  sralign train ${out}\n`,
    );
    const yaml = readFileSync(out, 'utf8');
    expect(yaml).toContain('# llama, 512 positions');
    expect(yaml).toMatch(/format: hh # recognised by chosen, rejected/);
    expect(yaml).toMatch(/maxTokens: 368 # beside 144 of p they fit the model/);
    const run = folder.join('run');
    const trained = await sralign([
      'train',
      out,
      '--set',
      `output.folder=${run}`,
      '--set',
      'training.maxSteps=1',
    ]);
    expect(trained.stderr).not.toMatch(/^sralign: /m);
    expect(trained.code).toBe(0);
    expect(existsSync(join(run, 'final/model.safetensors'))).toBe(true);
  });

  it('chooses a chat template for chats where the model has none', async () => {
    using folder = new TemporaryFolder();
    const turn = (role: string, content: string): object => ({ role, content });
    const pair = {
      prompt: [turn('user', 'Hi')],
      chosen: [turn('assistant', 'yes')],
      rejected: [turn('assistant', 'no')],
    };
    const data = folder.write('chats.jsonl', `${JSON.stringify(pair)}\n`.repeat(3));
    const out = folder.join('chats.yaml');
    const { code, stdout } = await sralign(['init', MODEL, data, '--out', out, '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      file: out,
      config: { method: 'sr-dpo', tokens: { chatTemplate: 'chatml' }, training: { batchPairs: 1 } },
    });
    expect(readFileSync(out, 'utf8')).toContain('# the tokenizer has none; or llama-3, zephyr');
    expect((await sralign(['data', 'preview', out])).stdout).toContain('<|im_start|>');
  });

  it.each([
    [
      'messages',
      {
        messages: [
          { role: 'user', content: 'Hi' },
          { role: 'assistant', content: 'yes' },
        ],
      },
      'chatml',
    ],
    ['text', { text: 'Once upon a time there was a dog.' }, null],
    ['prompt-completion', { prompt: 'Hi', completion: ' yes' }, null],
  ])('makes sft of %s, which no pair is', async (format, record, chatTemplate) => {
    using folder = new TemporaryFolder();
    const data = folder.write('single.jsonl', `${JSON.stringify(record)}\n`.repeat(3));
    const out = folder.join('single.yaml');
    const { stderr, stdout } = await sralign(['init', MODEL, data, '--out', out, '--json']);
    expect(stderr).toBe('');
    const { config } = JSON.parse(stdout) as { config: object };
    expect(config).toMatchObject({ method: 'sft', data: { format }, tokens: { chatTemplate } });
    const run = ['--set', `output.folder=${folder.join('run')}`, '--set', 'training.maxSteps=1'];
    const { code, stderr: said } = await sralign(['train', out, ...run]);
    expect(said).not.toMatch(/^sralign: /m);
    expect(code).toBe(0);
  });

  it('does not write over a file', async () => {
    using folder = new TemporaryFolder();
    const out = folder.write('mine.yaml', 'mine');
    const { code, stderr } = await sralign(['init', MODEL, HH, '--out', out]);
    expect(stderr).toBe(
      `sralign: ${out}, field "--out": The file exists already. Name another one by --out.\n`,
    );
    expect(code).toBe(2);
    expect(readFileSync(out, 'utf8')).toBe('mine');
  });

  it('names data that it does not recognise, and writes nothing', async () => {
    using folder = new TemporaryFolder();
    const data = folder.write('odd.jsonl', '{"foo": "a", "bar": "b"}\n');
    const { code, stderr } = await sralign(['init', MODEL, data, '--out', folder.join('odd.yaml')]);
    expect(stderr).toContain('odd.jsonl');
    expect(stderr).toContain('foo');
    expect(code).toBe(2);
    expect(existsSync(folder.join('odd.yaml'))).toBe(false);
  });
});
