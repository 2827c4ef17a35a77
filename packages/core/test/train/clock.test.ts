/** The clock of chat templates: of the first start, whenever and wherever the run goes on. */
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Communicator, SOLO } from '@sralign/native';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { templateClock, writeClock } from '../../src/train/clock.js';
import type { TrainEvent } from '../../src/train/events.js';
import { train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const TEMPLATE =
  "{{ strftime_now('%d %B %Y %H') }}{% for message in messages %}[{{ message.role }}] {{ message.content }}" +
  '{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}';

afterEach(() => vi.useRealTimers());

async function dated(folder: string): Promise<Config> {
  const model = join(folder, 'model');
  await cp(storiesFolder, model, { recursive: true });
  await writeFile(join(model, 'chat_template.jinja'), TEMPLATE);
  const rows = ['cat', 'dog', 'sun'].map(word => ({
    prompt: [{ role: 'user', content: `Tell me of the ${word}.` }],
    chosen: [{ role: 'assistant', content: `The ${word} was happy.` }],
    rejected: [{ role: 'assistant', content: 'No.' }],
  }));
  const data = join(folder, 'train.jsonl');
  await writeFile(data, rows.map(row => `${JSON.stringify(row)}\n`).join(''));
  return parseConfig({
    method: 'dpo',
    model: { path: model },
    data: { format: 'conversational', train: [data] },
    augmentation: { prompt: 'Be kind.' },
    schedule: { warmupSteps: 0 },
    training: { batchPairs: 1, maxSteps: 3 },
    checkpoint: { everySteps: 1 },
    output: { folder: join(folder, 'run') },
  });
}

/** Starts the run at a time, until a step. */
async function trainAt(time: string, config: Config, stop: number, resume = false): Promise<TrainEvent[]> {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date(time) });
  const events: TrainEvent[] = [];
  const controller = new AbortController();
  await train(config, {
    resume,
    signal: controller.signal,
    onEvent: event => {
      events.push(event);
      if (event.type === 'step' && event.step === stop) controller.abort();
    },
  });
  return events;
}

const isCached = (events: TrainEvent[]): boolean[] =>
  events.flatMap(event => (event.type === 'reference' ? [event.cached] : []));

describe('the clock of chat templates', () => {
  it('is that of the first start when the run goes on later, and the cache is used', async () => {
    await using folder = await temporaryFolder();
    const config = await dated(folder.path);
    await trainAt('2026-03-01T23:30:00', config, 1);
    expect(JSON.parse(await readFile(join(config.output.folder, 'clock.json'), 'utf8'))).toEqual({
      templateNow: '2026-03-01T23:30:00',
    });
    const resumed = await trainAt('2026-03-02T00:10:00', config, 2, true);
    expect(resumed.find(({ type }) => type === 'start')).toMatchObject({ type: 'start', resumedFromStep: 1 });
    expect(isCached(resumed)).toEqual([true]);
    // Even where there is no checkpoint yet.
    await rm(join(config.output.folder, 'checkpoints'), { recursive: true });
    const restarted = await trainAt('2026-03-04T12:00:00', config, 99, true);
    expect(restarted.find(({ type }) => type === 'start')).toMatchObject({ resumedFromStep: null });
    expect(isCached(restarted)).toEqual([true]);

    const other = parseConfig({ ...config, output: { folder: join(folder.path, 'other') } });
    await trainAt('2026-03-01T23:59:59', other, 99);
    const [one, two] = [config, other].map(({ output }) =>
      readFile(join(output.folder, 'final', 'model.safetensors')),
    );
    expect((await one!).equals(await two!)).toBe(true);
  });

  it('is that of the first rank on all, to the second, and in local time wherever it is read', async () => {
    await using folder = await temporaryFolder();
    const first = await templateClock(folder.path, false, SOLO);
    expect(first.getMilliseconds()).toBe(0);
    await writeClock(folder.path, new Date(2025, 11, 31, 23, 5, 7));
    for (const zone of ['UTC', 'Asia/Tokyo', 'America/New_York']) {
      vi.stubEnv('TZ', zone);
      const now = await templateClock(folder.path, true, SOLO);
      expect([now.getFullYear(), now.getMonth(), now.getDate(), now.getHours(), now.getSeconds()]).toEqual([
        2025, 11, 31, 23, 7,
      ]);
    }
    vi.unstubAllEnvs();
    const second: Communicator = {
      ...SOLO,
      rank: 1,
      worldSize: 2,
      exchange: <T>(own: T): T[] => ['2020-01-02T03:04:05' as T, own],
    };
    expect(await templateClock(folder.path, true, second)).toEqual(new Date(2020, 0, 2, 3, 4, 5));
  });

  it.each(['', '{}', '{"templateNow":"2026-13-01T00:00:00"}', '{"templateNow":"yesterday"}'])(
    'is missed where its file holds %j',
    async text => {
      await using folder = await temporaryFolder();
      await writeFile(join(folder.path, 'clock.json'), text);
      await expect(templateClock(folder.path, true, SOLO)).rejects.toThrow(
        /clock\.json: The clock of the run is damaged\. Write the day/,
      );
    },
  );
});
