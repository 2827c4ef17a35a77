/** Rows that cannot be used, found by reading or by encoding: one run names them all, or trains without them. */
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import type { TrainEvent } from '../../src/train/events.js';
import { train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const TEMPLATE =
  "{% for m in messages %}{% if m['content'] == 'refuse' %}{{ raise_exception('not this') }}{% endif %}" +
  "[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}{% endfor %}";

it('names them all in one run, or leaves them out, counts them and warns', async () => {
  await using folder = await temporaryFolder();
  const model = join(folder.path, 'model');
  await mkdir(model);
  await cp(storiesFolder, model, { recursive: true });
  await writeFile(join(model, 'chat_template.jinja'), TEMPLATE);
  const pair = (content: string, chosen: unknown = 'a cat') => ({
    prompt: [{ role: 'user', content }],
    chosen,
    rejected: 'no',
  });
  const records = [
    pair('refuse'),
    pair('Hi'),
    pair('Hi', 3),
    pair('long '.repeat(60)),
    pair('refuse'),
    pair('Ho'),
  ];
  const data = join(folder.path, 'pairs.jsonl');
  await writeFile(data, records.map(record => `${JSON.stringify(record)}\n`).join(''));
  const run = async (onBadRow: string) => {
    const events: TrainEvent[] = [];
    const config = parseConfig({
      method: 'sr-dpo',
      model: { path: model },
      data: { train: data, onBadRow },
      tokens: { maxTokens: 64, maxPromptTokens: 32 },
      augmentation: { prompt: 'Be kind.' },
      training: { batchPairs: 2, maxSteps: 1 },
      schedule: { warmupSteps: 0 },
      checkpoint: { everySteps: null, everyMinutes: null },
      output: { folder: join(folder.path, 'run') },
    });
    await train(config, { onEvent: event => void events.push(event) });
    return events;
  };
  const error = (await run('error').catch((caught: unknown) => caught)) as Error;
  const lines = error.message.replaceAll(`${folder.path}/`, '').split('\n');
  expect(lines[0]).toBe('pairs.jsonl: 4 rows cannot be used.');
  expect(lines.slice(1, 5).sort()).toEqual([
    expect.stringMatching(/^ {2}pairs\.jsonl:1: The chat template refuses the conversation \(not this\)/),
    expect.stringMatching(/^ {2}pairs\.jsonl:3, field "chosen": Expected/),
    expect.stringMatching(/^ {2}pairs\.jsonl:4, field "prompt": The prompt has \d+ tokens; the limit is 32/),
    expect.stringMatching(/^ {2}pairs\.jsonl:5: The chat template refuses/),
  ]);

  const events = await run('skip');
  const start = events.find(event => event.type === 'start')!;
  expect(start.reports).toMatchObject([{ rows: 6, pairs: 2 }]);
  expect(Object.values(start.reports[0]!.leftOut).reduce((sum, count) => sum + count, 0)).toBe(4);
  expect(start.reports[0]!.badRows).toHaveLength(4);
  const warnings = events.flatMap(event => (event.type === 'warning' ? [event.message] : []));
  expect(warnings).toContainEqual(
    expect.stringMatching(/training rows that do not fit are left out \(data\.onBadRow: skip\):\n/),
  );
});
