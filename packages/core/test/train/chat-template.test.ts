/** Training and generating with a built-in chat template whose end of turn the tokenizer has no token for. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import { generateText } from '../../src/generate/generate.js';
import { loadModel } from '../../src/model/load.js';
import { loadTokenizer } from '../../src/tokens/tokenizer.js';
import type { TrainEvent } from '../../src/train/events.js';
import { train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const PAIR = {
  prompt: [{ role: 'user', content: 'Hi' }],
  chosen: [{ role: 'assistant', content: 'yes' }],
  rejected: [{ role: 'assistant', content: 'no' }],
};

function config(folder: string, changes: Record<string, object>) {
  return parseConfig({
    method: 'sft',
    model: { path: storiesFolder },
    data: { format: 'conversational', train: join(folder, 'pairs.jsonl') },
    tokens: { maxTokens: 128, maxPromptTokens: 64, chatTemplate: 'chatml' },
    optimizer: { name: 'adamw', learningRate: 3e-3 },
    schedule: { warmupSteps: 0 },
    training: { batchPairs: 4, maxSteps: 40, threads: 1 },
    checkpoint: { everyMinutes: null },
    output: { folder: join(folder, 'run') },
    ...changes,
  });
}

it('is saved with the model, told of, stops a generation at its words, and is asked for again to resume', async () => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, 'pairs.jsonl'), `${JSON.stringify(PAIR)}\n`.repeat(4));
  const events: TrainEvent[] = [];
  const { runFolder } = await train(config(folder.path, {}), { onEvent: event => events.push(event) });
  const notices = events.flatMap(event => (event.type === 'notice' ? [event.message] : []));
  expect(notices).toEqual([
    expect.stringContaining('ends a turn with "<|im_end|>", for which the tokenizer has no token'),
  ]);

  // The saved model brings the template: nothing has to be chosen.
  const tokenizer = await loadTokenizer(runFolder);
  const model = await loadModel(runFolder);
  const options = { prompt: PAIR.prompt, maxNewTokens: 60, temperature: 0, topP: 1, seed: 0 } as const;
  const pieces: string[] = [];
  for await (const piece of generateText(model, tokenizer, {
    ...options,
    prompt: [{ role: 'user', content: 'Hi' }],
  }))
    pieces.push(piece);
  model.dispose();
  expect(pieces.join('')).toBe('yes');

  const resumed = (tokens: object): Promise<unknown> =>
    train(config(folder.path, { tokens, training: { batchPairs: 4, maxSteps: 41, threads: 1 } }), {
      resume: true,
    });
  const tokens = { maxTokens: 128, maxPromptTokens: 64 };
  await expect(resumed({ ...tokens, chatTemplate: 'zephyr' })).rejects.toThrow(
    'field "tokens.chatTemplate": The run was started with "chatml", but now it is "zephyr".',
  );
  await resumed({ ...tokens, chatTemplate: 'chatml' });
  // A file that has changed meanwhile is another template under the same name.
  const file = join(folder.path, 'mine.jinja');
  await writeFile(file, await readFile(join(runFolder, 'final/chat_template.jinja'), 'utf8'));
  const own = { tokens: { ...tokens, chatTemplate: file }, output: { folder: join(folder.path, 'other') } };
  await train(config(folder.path, { ...own, training: { batchPairs: 4, maxSteps: 1, threads: 1 } }));
  await writeFile(file, (await readFile(file, 'utf8')).replaceAll('im_start', 'im_begin'));
  await expect(
    train(config(folder.path, { ...own, training: { batchPairs: 4, maxSteps: 2, threads: 1 } }), {
      resume: true,
    }),
  ).rejects.toThrow(
    'field "tokens.chatTemplate": The chat template is not the one that the run was started with.',
  );
}, 60_000);

it('of HH-RLHF is saved with a model that has learned from its dialogues', async () => {
  await using folder = await temporaryFolder();
  const dialogue = (answer: string): string => `\n\nHuman: Hi\n\nAssistant: ${answer}`;
  await writeFile(
    join(folder.path, 'pairs.jsonl'),
    `${JSON.stringify({ chosen: dialogue('yes'), rejected: dialogue('no') })}\n`.repeat(4),
  );
  const notices: string[] = [];
  const { runFolder } = await train(
    config(folder.path, {
      data: { format: 'hh', train: join(folder.path, 'pairs.jsonl') },
      tokens: { maxTokens: 128, maxPromptTokens: 64 },
      training: { batchPairs: 4, maxSteps: 1, threads: 1 },
    }),
    { onEvent: event => void (event.type === 'notice' && notices.push(event.message)) },
  );
  expect(notices).toEqual([
    'The model is saved with the chat template "hh": the training data are dialogues of HH-RLHF, and the tokenizer has ' +
      'no template. tokens.chatTemplate chooses another one.',
  ]);
  const { chatTemplate } = await loadTokenizer(runFolder);
  expect(chatTemplate).toContain("'\\n\\nHuman: '");
});
