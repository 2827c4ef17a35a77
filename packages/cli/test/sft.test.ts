/** Supervised training from the command line: what is shown of the data, a run, and going on with it. */
import { describe, expect, it } from 'vitest';
import { MODEL, ROOT, sralign, TemporaryFolder } from './run.js';

const KTO = `${ROOT}/packages/core/test/fixtures/data/preference/kto_en_demo.json`;

const configOf = (folder: TemporaryFolder, file: string): string =>
  folder.write(
    'config.yaml',
    `method: sft
model: { path: ${JSON.stringify(MODEL)} }
data: { train: ${JSON.stringify(file)}, eval: ${JSON.stringify(file)} }
tokens: { maxTokens: 160, maxPromptTokens: 96, longPrompt: keep-end, chatTemplate: zephyr }
schedule: { warmupSteps: 0 }
training: { batchPairs: 2, maxSteps: 2, threads: 1 }
optimizer: { learningRate: 1e-4 }
output: { folder: ${JSON.stringify(folder.join('run'))} }
`,
  );

describe('method: sft', () => {
  it('shows which tokens of conversations are trained on, and which records are left out', async () => {
    using folder = new TemporaryFolder();
    const messages = ['Hi', 'Hello.', 'And?', 'Tom.'].map((content, i) => ({
      role: i % 2 === 0 ? 'user' : 'assistant',
      content,
    }));
    const file = folder.write(
      'chats.jsonl',
      `${JSON.stringify({ messages })}\n${JSON.stringify({ messages: messages.slice(0, 1) })}\n`,
    );
    const { code, stdout } = await sralign(['data', 'preview', configOf(folder, file)]);
    expect(code).toBe(0);
    const shown = [...stdout.matchAll(/^(given|trained on), \d+ tokens\n((?: {2}\| .*\n)+)/gm)];
    expect(shown.map(([, what]) => what)).toEqual(['given', 'trained on', 'given', 'trained on']);
    expect(shown[1]![2]).toContain('Hello.</s>');
    expect(shown[2]![2]).toContain('And?');
    expect(shown[3]![2]).toContain('Tom.</s>');
    expect(stdout).toContain(
      'chats.jsonl, training: 2 records, 1 examples, 1 left out (no turn of the assistant: 1)',
    );
    expect(stdout).toMatch(/read as messages \(messages\), chats$/m);
    expect(stdout).toMatch(/^sequences +1$/m);
  });

  it('trains on the answers of kto_en_demo that are marked as good, evaluates, and goes on', async () => {
    using folder = new TemporaryFolder();
    const config = configOf(folder, KTO);
    const { code, stderr } = await sralign(['train', config]);
    expect(stderr).toContain('3 left out (marked as undesirable (label: false): 3)');
    expect(stderr).toMatch(/\d training examples, \d evaluation examples; /);
    expect(stderr).toContain('step 2/2');
    expect(code).toBe(0);
    const more = await sralign(['train', config, '--resume', '--set', 'training.maxSteps=3']);
    expect(more.stderr).toContain('step 3/3');
    expect(more.code).toBe(0);
    const dpo = await sralign([
      'train',
      config,
      '--set',
      'method=dpo',
      '--set',
      `output.folder=${folder.join('dpo')}`,
    ]);
    expect(dpo.code).toBe(2);
    expect(dpo.stderr).toMatch(
      /kto_en_demo\.json, field "method": dpo learns from pairs of answers, .*Use method: sft/s,
    );
  });
});
