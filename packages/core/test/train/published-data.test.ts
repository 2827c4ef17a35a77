/** Published data sets train as they are: a few steps on records of each. */
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import type { TrainEvent } from '../../src/train/events.js';
import { train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const TEMPLATE =
  "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}{% endfor %}" +
  '{% if add_generation_prompt %}[assistant] {% endif %}';

const published = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/data/preference/${name}`, import.meta.url));
const hh = fileURLToPath(
  new URL('../../../../examples/data/hh-rlhf/harmless-base.eval.jsonl.gz', import.meta.url),
);

interface Run {
  readonly file: string;
  readonly method?: string;
  readonly data?: object;
  readonly tokens?: object;
  /** Whether the tokenizer has a chat template. */
  readonly template?: boolean;
}

async function run({ file, method = 'sr-dpo', data = {}, tokens = {}, template = true }: Run) {
  await using folder = await temporaryFolder();
  const model = join(folder.path, 'model');
  await mkdir(model);
  await cp(storiesFolder, model, { recursive: true });
  if (template) await writeFile(join(model, 'chat_template.jinja'), TEMPLATE);
  const events: TrainEvent[] = [];
  const config = parseConfig({
    method,
    model: { path: model },
    data: { train: file, maxTrainPairs: 4, ...data },
    tokens: { maxTokens: 96, maxPromptTokens: 48, longPrompt: 'keep-end', ...tokens },
    augmentation: { prompt: 'Be kind.' },
    optimizer: { learningRate: 1e-4 },
    schedule: { warmupSteps: 0 },
    training: { batchPairs: 2, maxSteps: 2 },
    checkpoint: { everySteps: null, everyMinutes: null },
    output: { folder: join(folder.path, 'run') },
  });
  const result = await train(config, { onEvent: event => void events.push(event) });
  const losses = events.flatMap(event => (event.type === 'step' ? [event.metrics.loss!] : []));
  const start = events.find(event => event.type === 'start')!;
  const notices = events.flatMap(event => (event.type === 'notice' ? [event.message] : []));
  return { result, losses, reports: start.reports, notices };
}

describe('as pairs', () => {
  it.each([
    ['HH-RLHF', { file: hh, template: false }, 'hh (chosen, rejected), plain text'],
    [
      'dpo_en_demo of LLaMA-Factory',
      { file: published('dpo_en_demo.json') },
      'sharegpt (conversations, chosen, rejected), chats',
    ],
    [
      'LLMBar',
      { file: published('llmbar.json'), template: false },
      'compared (input, output_1, output_2, label), plain text',
    ],
    [
      'LLMBar as chats',
      { file: published('llmbar.json'), data: { chat: true } },
      'compared (input, output_1, output_2, label), chats',
    ],
    [
      'PandaLM',
      { file: published('pandalm.json'), template: false, data: { onBadRow: 'skip' } },
      'compared (instruction, input, response1, response2, annotator1, annotator2, annotator3), plain text',
    ],
    [
      'QA-Feedback',
      { file: published('qa_feedback.json'), template: false, data: { pairs: 'all' } },
      'qa-feedback (question, prediction 1–4, preference), plain text',
    ],
    [
      'the trees of OpenAssistant',
      { file: published('oasst_en_trees.jsonl'), data: { pairs: 'all' } },
      'oasst (prompt.replies[].rank), chats',
    ],
  ] as const)('%s', async (_, request, readAs) => {
    const { losses, reports, notices } = await run(request);
    expect(reports.map(report => report.readAs)).toEqual([readAs]);
    expect(reports[0]!.pairs).toBeGreaterThanOrEqual(2);
    expect(losses).toHaveLength(2);
    // Before the first step the policy is the reference.
    expect(losses[0]).toBeCloseTo(Math.log(2), 5);
    // On other pairs, by then, and not the reference any more.
    expect(Math.abs(losses[1]! - Math.log(2))).toBeGreaterThan(1e-4);
    expect(notices.filter(notice => !notice.includes('saved with the chat template "hh"'))).toEqual([]);
  });

  it('says that texts stay texts where the tokenizer has a chat template', async () => {
    const { notices } = await run({ file: published('llmbar.json') });
    expect(notices).toEqual([
      expect.stringMatching(
        /llmbar\.json: read as plain text, although the tokenizer has a chat template\. data\.chat: true makes chats of it\.$/,
      ),
    ]);
    expect((await run({ file: published('llmbar.json'), data: { chat: false } })).notices).toEqual([]);
    expect((await run({ file: hh, tokens: { chatTemplate: 'hh' } })).notices).toEqual([]);
  });
});
