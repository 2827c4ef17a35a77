/** SFT on every format that it reads: a few steps each, with evaluation. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { readRows } from '../../src/data/read.js';
import { readingOf } from '../../src/data/reading.js';
import { plainSource } from '../../src/data/source.js';
import { readMetrics } from '../../src/metrics/jsonl.js';
import { encodeForRun } from '../../src/tokens/run-data.js';
import { loadTokenizer } from '../../src/tokens/tokenizer.js';
import type { TrainEvent } from '../../src/train/events.js';
import { train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';
import { storiesWith } from '../tokens/fixtures.js';

const kto = fileURLToPath(new URL('../fixtures/data/preference/kto_en_demo.json', import.meta.url));
const dpo = fileURLToPath(new URL('../fixtures/data/preference/dpo_en_demo.json', import.meta.url));

const TEMPLATE =
  "{{ bos_token }}{% if tools %}{{ tools | tojson }}{{ '\\n' }}{% endif %}{% for m in messages %}{{ m['role'] + ': ' }}" +
  "{% if m['content'] %}{{ m['content'] }}{% endif %}{% if m['tool_calls'] %}{{ m['tool_calls'] | tojson }}{% endif %}" +
  "{{ eos_token + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

function config(
  folder: string,
  tokenizer: string,
  file: string,
  changes: Record<string, Record<string, unknown>> = {},
): Config {
  return parseConfig({
    method: 'sft',
    model: { path: storiesFolder, tokenizer },
    data: { train: [file], eval: [file] },
    tokens: { maxTokens: 160, maxPromptTokens: 100, longPrompt: 'keep-end' },
    optimizer: { name: 'adamw', learningRate: 1e-3 },
    schedule: { warmupSteps: 0 },
    training: { batchPairs: 2, maxSteps: 3, seed: 5 },
    evaluation: { everySteps: 3, batchPairs: 2 },
    output: { folder },
    ...changes,
  });
}

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const call = {
  role: 'assistant',
  content: null,
  tool_calls: [{ type: 'function', function: { name: 'find' } }],
};
const tools = [{ type: 'function', function: { name: 'find' } }];
const chat = [user('Who?'), assistant('Tom.'), user('And?'), assistant('A bird.')];
const withTools = [user('Where?'), call, { role: 'tool', content: 'park' }, assistant('In the park.')];
const long = 'Once upon a time there was a little girl. '.repeat(30);

const RECORDS: Record<string, object[]> = {
  'texts in prompt and completion': [
    { prompt: 'Who was there?', completion: ' A bird.' },
    { prompt: 'What did she see?', completion: ' A dog.' },
  ],
  'messages in prompt and completion': [
    { prompt: [user('Who?')], completion: [assistant('Tom.')] },
    { prompt: [user('And?')], completion: [assistant('A bird.')] },
  ],
  conversations: [{ messages: chat }, { messages: chat.slice(0, 2) }],
  'conversations with tools': [
    { messages: withTools, tools },
    { messages: withTools, tools },
  ],
  ShareGPT: [
    {
      conversations: [
        { from: 'human', value: 'Who?' },
        { from: 'gpt', value: 'Tom.' },
      ],
      system: 'S',
    },
    {
      conversations: [
        { from: 'human', value: 'And?' },
        { from: 'gpt', value: 'A bird.' },
      ],
      system: 'S',
    },
  ],
  texts: [{ text: long }, { text: 'The end.' }],
};

const hasTokens = ({ num_tokens }: Record<string, unknown>): boolean => num_tokens !== undefined;

describe('a run of SFT', () => {
  async function run(file: string, changes?: Record<string, Record<string, unknown>>) {
    await using folder = await temporaryFolder();
    const tokenizer = await storiesWith({ chat_template: TEMPLATE });
    const settings = config(join(folder.path, 'run'), tokenizer, file, changes);
    const events: TrainEvent[] = [];
    await train(settings, { onEvent: event => events.push(event) });
    const records = await readMetrics(join(folder.path, 'run', 'metrics.jsonl'));
    const data = events.filter(event => event.type === 'start').flatMap(({ reports }) => reports);
    const { rows } = await readRows([plainSource([file])], readingOf(settings));
    const { dataset } = encodeForRun(rows, 'training', settings, await loadTokenizer(tokenizer), null);
    return { records, data, dataset };
  }

  it.each(Object.entries(RECORDS))('learns %s and evaluates on them', async (_, records) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'records.jsonl');
    await writeFile(file, records.map(record => `${JSON.stringify(record)}\n`).join(''));
    const { records: metrics, dataset } = await run(file);
    const losses = metrics.map(({ loss }) => loss).filter(loss => loss !== undefined);
    expect(losses).toHaveLength(3);
    const evaluated = metrics.map(record => record.eval_loss).filter(loss => loss !== undefined);
    expect(evaluated.at(-1)).toBeLessThan(evaluated[0] as number);
    // Two sequences a step, and every epoch all of them: TRL counts their tokens.
    const lengths = dataset.pairs.map(pair => ('tokens' in pair ? pair.tokens.length : 0));
    // A text longer than tokens.maxTokens is learnt in pieces.
    if (records === RECORDS.texts) expect(lengths.length).toBeGreaterThan(2);
    else expect(metrics.findLast(hasTokens)!.num_tokens).toBe(3 * (lengths[0]! + lengths[1]!));
  });

  it('takes the desirable answers of kto_en_demo, and says how many records are left out', async () => {
    const { data, records } = await run(kto);
    expect(data[0]).toMatchObject({
      rows: 6,
      pairs: 3,
      leftOut: { 'marked as undesirable (label: false)': 3 },
    });
    expect(records.some(({ loss }) => loss !== undefined)).toBe(true);
  });

  it('takes the chosen answers of preference data', async () => {
    const { data, dataset } = await run(dpo);
    expect(data[0]).toMatchObject({ rows: 6, pairs: 6, leftOut: {} });
    expect(dataset.pairs.every(pair => 'trained' in pair)).toBe(true);
  });

  it('trains on the last answers alone with sft.turns: last', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'records.jsonl');
    await writeFile(file, `${JSON.stringify({ messages: chat })}\n`);
    const trained = async (turns: string) => {
      const { dataset } = await run(file, { sft: { turns } });
      const [sequence] = dataset.pairs;
      return 'trained' in sequence! ? sequence.trained.filter(value => value === 1).length : 0;
    };
    expect(await trained('last')).toBeLessThan(await trained('all'));
  });
});

it('is the only method that takes kto_en_demo', async () => {
  await using folder = await temporaryFolder();
  const settings = { ...config(join(folder.path, 'run'), storiesFolder, kto), method: 'dpo' as const };
  await expect(train(settings)).rejects.toThrow(
    /kto_en_demo\.json, field "method": dpo learns from pairs of answers, .*label.*Use method: sft/,
  );
});
