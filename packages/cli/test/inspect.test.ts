/** generate, data preview, verify and doctor: what they print and their exit codes. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MODEL, ROOT, sralign, TemporaryFolder } from './run.js';
import { tinyConfig } from './tiny.js';

describe('sralign generate', () => {
  it('continues greedily with the text that the model is known for', async () => {
    const { code, stdout } = await sralign([
      'generate',
      MODEL,
      '--prompt',
      'Once upon a time',
      '--max-new-tokens',
      '60',
    ]);
    expect(code).toBe(0);
    expect(stdout).toContain(
      'Once upon a time, there was a little girl named Lily. She loved to play outside in the park.',
    );
  });

  it('draws the same text for the same seed, another for another', async () => {
    const draw = async (seed: string): Promise<string> => {
      const options = ['--temperature', '1', '--top-p', '0.95', '--max-new-tokens', '30', '--seed', seed];
      return (await sralign(['generate', MODEL, '--prompt', 'One day', ...options])).stdout;
    };
    const [first, again, other] = await Promise.all([draw('1'), draw('1'), draw('2')]);
    expect(first).toMatch(/^One day.+/);
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });

  it('draws another text each time without a seed, and says how to draw it again', async () => {
    const draw = async (...more: string[]) =>
      sralign([
        'generate',
        MODEL,
        '--prompt',
        'One day',
        '--temperature',
        '0.9',
        '--max-new-tokens',
        '30',
        ...more,
      ]);
    const [first, second] = await Promise.all([draw(), draw()]);
    expect(second.stdout).not.toBe(first.stdout);
    const seed = /^note: --seed (\d+) draws this text again$/m.exec(first.stderr)![1]!;
    expect((await draw('--seed', seed)).stdout).toBe(first.stdout);
  });

  it('takes a run, a step of it, and a chat template', async () => {
    using folder = new TemporaryFolder();
    mkdirSync(folder.join('run'));
    for (const place of ['final', 'checkpoints/step-000020'])
      cpSync(MODEL, folder.join('run', place), { recursive: true });
    const run = folder.join('run');
    for (const model of [run, `${run}@20`, join(run, 'checkpoints/step-000020')]) {
      const { code, stdout } = await sralign([
        'generate',
        model,
        '--prompt',
        'One day',
        '--max-new-tokens',
        '5',
      ]);
      expect(stdout).toMatch(/^One day./);
      expect(code).toBe(0);
    }
    const chat = ['--chat-template', 'chatml', '--prompt', 'Hi', '--max-new-tokens', '5'];
    const { code, stderr } = await sralign(['generate', run, ...chat]);
    expect(stderr).toContain('note: The chat template ends a turn with "<|im_end|>"');
    expect(code).toBe(0);
  });

  it.each([
    ['generate', [MODEL, '--prompt', 'Hi', '--device', 'cuda:99'], '--device'],
    [
      'verify',
      [join(ROOT, 'packages/core/test/fixtures/reference/llama_gqa'), '--device', 'cuda:99'],
      '--device',
    ],
  ])('%s names the device that is not there, without names of the program', async (command, args, field) => {
    const { code, stderr } = await sralign([command, ...args]);
    expect(stderr).toMatch(
      new RegExp(
        `^sralign: field "${field}": The device cuda:99 cannot be used: (?!useDevice).*\`sralign doctor\``,
      ),
    );
    expect(code).toBe(2);
  });

  it('says that a base model has no chat template', async () => {
    const { code, stdout, stderr } = await sralign(['generate', MODEL, '--prompt', 'Hi', '--chat']);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('chat template');
  });

  it('refuses more tokens than the model has positions', async () => {
    const { code, stderr } = await sralign(['generate', MODEL, '--prompt', 'Hi', '--max-new-tokens', '600']);
    expect(code).toBe(2);
    expect(stderr).toContain('512 positions');
  });
});

describe('sralign data preview', () => {
  it('shows each part with its tokens, what is cut, and a report', async () => {
    using folder = new TemporaryFolder();
    const set = [
      '--set',
      'tokens.longPrompt=keep-end',
      '--set',
      'tokens.maxPromptTokens=60',
      '--set',
      'tokens.maxTokens=80',
    ];
    const { code, stdout, stderr } = await sralign([
      'data',
      'preview',
      tinyConfig(folder),
      '--rows',
      '4',
      ...set,
    ]);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(stdout.match(/^p ⊕ x, \d+ tokens$/gm)).toHaveLength(4);
    expect(stdout).toContain('Please generate a response with a usefulness rating of 100 out of 100');
    expect(stdout).toMatch(/^ {2}cut, \d+ tokens$/m);
    expect(stdout).toMatch(/harmless-base\.train\.jsonl\.gz, training: the first [\d,]+ records, 40 pairs/);
    expect(stdout).toMatch(
      /; cut: \d+ prompts, \d+ chosen, \d+ rejected; read as hh \(chosen, rejected\), plain text$/m,
    );
    expect(stdout).toMatch(/^warning: .* % of the 40 training pairs are cut/m);
    expect(stdout).toMatch(/^prompt tokens +median \d+, 90 % up to \d+, longest 60$/m);
  });

  it('says as what the records were read, and shows where texts meet', async () => {
    using folder = new TemporaryFolder();
    const preview = async (chosen: string, template: string | null, ...set: string[]): Promise<string> => {
      cpSync(MODEL, folder.join('model'), { recursive: true });
      if (template !== null) folder.write('model/chat_template.jinja', template);
      folder.write('pairs.jsonl', JSON.stringify({ question: 'Who is it?', good: chosen, bad: '\nno' }));
      const settings = [
        'evaluation.everySteps=null',
        `data={train: ${folder.join('pairs.jsonl')}, columns: {prompt: question, chosen: good, rejected: bad}}`,
        `model.path=${folder.join('model')}`,
        ...set,
      ].flatMap(change => ['--set', change]);
      const { code, stdout, stderr } = await sralign(['data', 'preview', tinyConfig(folder), ...settings]);
      expect(stderr).toBe('');
      expect(code).toBe(0);
      return stdout;
    };
    const touching = await preview('Lily', null);
    expect(touching).toContain(
      'x and chosen meet: "…Who is it?Lily</s>…"  note: no white space between them\n',
    );
    expect(touching).toContain('x and rejected meet: "…Who is it?\\nno</s>…"\n');
    expect(touching).toMatch(
      /: 1 records, 1 pairs; read as preference \(prompt, chosen, rejected\), plain text$/m,
    );
    expect(touching).not.toContain('note: /');
    const apart = await preview(' Lily', '{% for m in messages %}{{ m.content }}</s>{% endfor %}');
    expect(apart).toContain('x and chosen meet: "…Who is it? Lily</s>…"\n');
    expect(apart).toContain('pairs.jsonl: read as plain text, although the tokenizer has a chat template.');
    const chat = await preview(
      'Lily',
      '{% for m in messages %}{{ m.content }}</s>{% endfor %}',
      'data.chat=true',
    );
    expect(chat).not.toContain(' meet: ');
    expect(chat).toContain('rejected), chats\n');
  });

  it('refuses a token that the model does not have, as training does, whether p is read or not', async () => {
    using folder = new TemporaryFolder();
    const tokenizer = join(folder.path, 'tokenizer');
    cpSync(MODEL, tokenizer, { recursive: true });
    const end = { content: '<|im_end|>', special: true };
    const settings = {
      bos_token: '<s>',
      eos_token: '<|im_end|>',
      added_tokens_decoder: { 512: end },
      add_bos_token: true,
    };
    writeFileSync(join(tokenizer, 'tokenizer_config.json'), JSON.stringify(settings));
    const config = tinyConfig(folder);
    const set = ['--set', `model.tokenizer=${tokenizer}`, '--set', 'tokens.longPrompt=keep-end'];
    for (const method of [[], ['--set', 'method=dpo', '--set', 'augmentation.maxTokens=1']]) {
      const { code, stdout, stderr } = await sralign(['data', 'preview', config, ...set, ...method]);
      expect(stderr).toContain('The tokenizer gives token 512, but the model');
      expect(stdout).toContain('prompt x');
      expect(code).toBe(2);
    }
    const { code, stderr } = await sralign(['train', config, ...set]);
    expect(stderr).toContain('The tokenizer gives token 512, but the model');
    expect(code).toBe(2);
  });

  it('says which rule gave BOS and the end of an answer', async () => {
    using folder = new TemporaryFolder();
    const preview = async (format: string, template: string | null): Promise<string> => {
      cpSync(MODEL, folder.join('model'), { recursive: true });
      const file = folder.join('model/tokenizer_config.json');
      const settings = JSON.parse(readFileSync(file, 'utf8')) as object;
      writeFileSync(file, JSON.stringify({ ...settings, chat_template: template }));
      const prompt = format === 'preference' ? 'Hi' : [{ role: 'user', content: 'Hi' }];
      writeFileSync(folder.join('pairs.jsonl'), JSON.stringify({ prompt, chosen: ' yes', rejected: ' no' }));
      const set = [
        `data.train=${folder.join('pairs.jsonl')}`,
        `data.format=${format}`,
        `model.path=${folder.join('model')}`,
      ].flatMap(change => ['--set', change]);
      const { code, stdout } = await sralign(['data', 'preview', tinyConfig(folder), ...set]);
      expect(code).toBe(0);
      return stdout;
    };
    const text = await preview('preference', null);
    expect(text).toMatch(/^BOS +<s>, once and first: the tokenizer adds it$/m);
    expect(text).toMatch(/^end of an answer +<\/s>, put behind each whole answer; none behind a cut one$/m);
    const turns = "{% for m in messages %}{{ m['content'] + '</s>' }}{% endfor %}";
    const chat = await preview('conversational', turns);
    expect(chat).toMatch(/^BOS +none: the chat template writes none$/m);
    expect(chat).toMatch(/^end of an answer +<\/s>, as the chat template writes it; nothing is added/m);
    const endless = await preview('conversational', `{{ bos_token }}${turns.replace('</s>', '\\n')}`);
    expect(endless).toMatch(/^BOS +<s>, as the chat template writes it$/m);
    expect(endless).toMatch(/^end of an answer +none: the chat template writes nothing there/m);
  });

  it('shows no p to sft, and refuses what training would', async () => {
    using folder = new TemporaryFolder();
    const preview = (...changes: string[]) =>
      sralign(['data', 'preview', tinyConfig(folder), ...changes.flatMap(change => ['--set', change])]);
    const long = ['tokens.longPrompt=drop', 'tokens.maxTokens=510', 'tokens.maxPromptTokens=505'];
    const sft = await preview('method=sft', ...long);
    expect(sft.code).toBe(0);
    expect(sft.stdout).not.toContain('p ⊕ x');
    expect(sft.stdout).toMatch(/^trained on, \d+ tokens$/m);
    expect(sft.stdout).toMatch(/^trained tokens +median /m);
    expect(sft.stdout).not.toMatch(/^rejected, /m);
    const dpo = await preview('method=dpo', ...long);
    expect(dpo.code).toBe(0);
    expect(dpo.stdout).toContain('note: The augmented view is not evaluated (evaluation.augmented: auto).');
    const srDpo = await preview(...long);
    expect(srDpo.code).toBe(2);
    expect(srDpo.stderr).toMatch(/field "augmentation\.prompt": A sequence of \d+ tokens/);
  });

  it('names the row whose prompt training would refuse', async () => {
    using folder = new TemporaryFolder();
    const { code, stdout, stderr } = await sralign([
      'data',
      'preview',
      tinyConfig(folder),
      '--set',
      'tokens.longPrompt=error',
    ]);
    expect(code).toBe(2);
    expect(stdout).toContain('p ⊕ x');
    expect(stderr).toMatch(/harmless-base\.train\.jsonl\.gz:\d+.*tokens\.longPrompt/s);
  });
});

describe('sralign verify', () => {
  const reference = join(ROOT, 'packages/core/test/fixtures/reference/llama_gqa');

  it('passes a reference case and shows every quantity', async () => {
    const { code, stdout } = await sralign(['verify', reference]);
    expect(stdout).toContain('are within tolerance');
    expect(Math.max(...stdout.split('\n').map(line => line.length))).toBeLessThanOrEqual(80);
    expect(stdout).not.toContain('FAIL');
    expect(code).toBe(0);
  });

  it('exits with 1 when a number is wrong', async () => {
    using folder = new TemporaryFolder();
    cpSync(reference, folder.join('case'), { recursive: true });
    const file = folder.join('case/case.json');
    const expected = JSON.parse(readFileSync(file, 'utf8')) as { margin: number[] };
    writeFileSync(file, JSON.stringify({ ...expected, margin: expected.margin.map(margin => margin + 0.1) }));
    const { code, stdout } = await sralign(['verify', folder.join('case'), '--json']);
    expect(code).toBe(1);
    const report = JSON.parse(stdout) as { passed: boolean; quantities: { name: string; passed: boolean }[] };
    expect(report.passed).toBe(false);
    expect(
      report.quantities.filter(quantity => !quantity.passed).map(quantity => quantity.name),
    ).toContainEqual(expect.stringContaining('margin'));
  });

  it('says when a folder is no case', async () => {
    const { code, stderr } = await sralign(['verify', MODEL]);
    expect(code).toBe(2);
    expect(stderr).toContain('case.json');
  });
});

describe('sralign doctor', () => {
  it('reports this machine, to people and to programs', async () => {
    const { code, stdout } = await sralign(['doctor']);
    expect(code).toBe(0);
    for (const label of ['sralign', 'node', 'processor', 'kernels', 'oneDNN', 'threads', 'memory', 'GPU'])
      expect(stdout).toMatch(new RegExp(`^${label} +\\S`, 'm'));

    const machine = JSON.parse((await sralign(['doctor', '--json'])).stdout) as Record<
      string,
      Record<string, unknown>
    >;
    expect(machine.versions?.node).toBe(process.versions.node);
    expect(machine.engine).toMatchObject({
      loaded: true,
      threads: expect.any(Number),
      nativeBf16: expect.any(Boolean),
    });
  });
});
