/** What `--resume` goes on from, and what it refuses: every input changed, every file of a checkpoint damaged. */
import { appendFile, cp, mkdir, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { CheckpointError, RunError } from '../../src/errors.js';
import type { TrainEvent } from '../../src/train/events.js';
import { train } from '../../src/train/trainer.js';
import { storiesFolder, temporaryFolder } from '../support.js';

type Rows = { prompt: string; chosen: string; rejected: string }[];

const WORDS = ['cat', 'dog', 'sun', 'tree', 'ball', 'boat', 'bird', 'cake', 'girl', 'boy', 'moon', 'frog'];
const ROWS: Rows = WORDS.map((word, i) => ({
  prompt: `Tell me of the ${word}.`,
  chosen: ` Once upon a time there was a ${word}, and it was happy.`,
  rejected: ` No ${word} for you, ${WORDS[(i + 5) % WORDS.length]}.`,
}));
const TEMPLATE = '{% for message in messages %}{{ message.content }}{% endfor %}';

let temporary: Awaited<ReturnType<typeof temporaryFolder>>;
/** As the interrupted run left everything, and where the cases change it. */
let [pristine, work] = ['', ''];
const at = (...names: string[]): string => join(work, ...names);

function config(changes: Record<string, Record<string, unknown>> = {}): Config {
  const base: Record<string, Record<string, unknown>> = {
    model: { path: at('model') },
    data: { format: 'preference', train: [at('train.jsonl')], eval: [at('eval.jsonl')] },
    tokens: { maxTokens: 60, maxPromptTokens: 30 },
    augmentation: { prompt: 'Be kind. Query:', maxTokens: 40 },
    optimizer: { learningRate: 1e-3 },
    schedule: { warmupSteps: 0 },
    training: { batchPairs: 2, maxSteps: 5 },
    evaluation: { everySteps: 2 },
    checkpoint: { everySteps: 2, keepLast: 3 },
    reference: { model: at('reference') },
    output: { folder: at('run') },
  };
  for (const [section, values] of Object.entries(changes)) base[section] = { ...base[section], ...values };
  return parseConfig({ method: 'sr-dpo', ...base });
}

const startOf = (events: readonly TrainEvent[]): TrainEvent | undefined =>
  events.find(({ type }) => type === 'start');

const writeRows = (name: string, rows: Rows): Promise<void> =>
  writeFile(at(name), rows.map(row => `${JSON.stringify(row)}\n`).join(''));

/** The error that `--resume` ends in. */
async function refusal(changes: Parameters<typeof config>[0] = {}): Promise<Error> {
  const error = await train(config(changes), { resume: true }).then(
    () => new Error('It went on.'),
    (error: Error) => error,
  );
  return error;
}

async function flipByte(file: string, position: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[position < 0 ? bytes.length + position : position]! ^= 1;
  await writeFile(file, bytes);
}

async function edit(file: string, change: (text: string) => string): Promise<void> {
  const before = await readFile(file, 'utf8');
  const after = change(before);
  expect(after).not.toBe(before);
  await writeFile(file, after);
}

beforeAll(async () => {
  temporary = await temporaryFolder();
  work = join(temporary.path, 'work');
  pristine = join(temporary.path, 'pristine');
  for (const name of ['model', 'reference']) {
    await mkdir(at(name), { recursive: true });
    await cp(storiesFolder, at(name), { recursive: true });
  }
  await writeFile(at('model', 'chat_template.jinja'), TEMPLATE);
  await writeRows('train.jsonl', ROWS);
  await writeRows('eval.jsonl', ROWS.slice(0, 3));
  const controller = new AbortController();
  const result = await train(config(), {
    signal: controller.signal,
    onEvent: event => event.type === 'checkpoint' && event.step === 4 && controller.abort(),
  });
  expect(result).toMatchObject({ interrupted: true, steps: 4 });
  await cp(work, pristine, { recursive: true });
});
beforeEach(async () => {
  await rm(work, { recursive: true, force: true });
  await cp(pristine, work, { recursive: true });
});
afterAll(() => temporary[Symbol.asyncDispose]());

const checkpoint = (...names: string[]): string => at('run', 'checkpoints', 'step-000004', ...names);

describe('a resumed run whose inputs are what they were', () => {
  it('ends in the bits of one that was not interrupted', async () => {
    await train(config(), { resume: true });
    const resumed = await readFile(at('run', 'final', 'model.safetensors'));
    await train(config({ output: { folder: at('whole') } }));
    expect(resumed.equals(await readFile(at('whole', 'final', 'model.safetensors')))).toBe(true);
  });

  it('does not mind rows beyond those that it uses', async () => {
    const few = {
      data: { format: 'preference', train: [at('train.jsonl')], maxTrainPairs: 8, limit: 'first' },
    };
    const settings = { ...few, training: { batchPairs: 2, maxSteps: 2 }, output: { folder: at('few') } };
    const evaluation = { evaluation: { everySteps: null } };
    await train(config({ ...settings, ...evaluation }));
    await appendFile(at('train.jsonl'), `${JSON.stringify(ROWS[0])}\n`);
    const longer = { ...settings, ...evaluation, training: { batchPairs: 2, maxSteps: 3 } };
    expect(await train(config(longer), { resume: true })).toMatchObject({ steps: 3 });
  });
});

describe('a resumed run is refused, naming what has changed:', () => {
  const cases: [string, () => Promise<void>, RegExp][] = [
    [
      'training data that grew',
      () => writeRows('train.jsonl', [...ROWS, ROWS[3]!, ROWS[4]!]),
      /field "data\.train".*12 pairs then, 14 now; 2 added\./,
    ],
    [
      'training data that shrank',
      () => writeRows('train.jsonl', ROWS.slice(0, 3)),
      /field "data\.train".*12 pairs then, 3 now; 9 removed\./,
    ],
    [
      'an edited row',
      () => edit(at('train.jsonl'), text => text.replace('the sun', 'the son')),
      /field "data\.train".*12 pairs then, 12 now; 1 edited\./,
    ],
    [
      'two rows that changed places',
      () => writeRows('train.jsonl', [ROWS[1]!, ROWS[0]!, ...ROWS.slice(2)]),
      /field "data\.train".*12 pairs then, 12 now; 2 in another place\./,
    ],
    [
      'a row in front, and one edited',
      () =>
        writeRows('train.jsonl', [
          { ...ROWS[0]!, chosen: ' Yes.' },
          { ...ROWS[0]!, chosen: ' No.' },
          ...ROWS.slice(1),
        ]),
      /field "data\.train".*12 pairs then, 13 now; 1 added, 1 edited\./,
    ],
    [
      'swapped answers',
      () =>
        writeRows(
          'train.jsonl',
          ROWS.map(row => ({ ...row, chosen: row.rejected, rejected: row.chosen })),
        ),
      /field "data\.train".*12 edited/,
    ],
    [
      'evaluation data that grew',
      () => writeRows('eval.jsonl', ROWS.slice(0, 4)),
      /field "data\.eval".*3 pairs then, 4 now; 1 added/,
    ],
    [
      'evaluation data that shrank',
      () => writeRows('eval.jsonl', ROWS.slice(0, 2)),
      /field "data\.eval".*1 removed/,
    ],
    [
      'a tokenizer',
      () => edit(at('model', 'tokenizer.json'), text => `${text}\n`),
      /field "model\.tokenizer".*tokenizer is not the one/,
    ],
    [
      'a tokenizer that puts no BOS in front',
      async () => {
        const file = at('model', 'tokenizer_config.json');
        const settings = JSON.parse(await readFile(file, 'utf8'));
        await writeFile(
          file,
          JSON.stringify({ ...settings, add_bos_token: settings.add_bos_token === false }),
        );
      },
      /field "model\.tokenizer".*tokenizer is not the one/,
    ],
    [
      'a chat template',
      () => writeFile(at('model', 'chat_template.jinja'), TEMPLATE.replace('{% endfor %}', ' {% endfor %}')),
      /field "model\.tokenizer".*chat template is not the one/,
    ],
    ['no chat template', () => rm(at('model', 'chat_template.jinja')), /chat template is not the one/],
    [
      'weights of the model',
      () => flipByte(at('model', 'model.safetensors'), -2),
      /field "model\.path".*initial model/,
    ],
    [
      'the config.json of the model',
      () => edit(at('model', 'config.json'), text => text.replace('{', '{ "rope_theta": 10001,')),
      /field "model\.path".*initial model/,
    ],
    [
      'weights of the reference',
      () => flipByte(at('reference', 'model.safetensors'), -2),
      /field "reference\.model".*reference model/,
    ],
    [
      'the config.json of the reference',
      () => edit(at('reference', 'config.json'), text => text.replace('{', '{ "rms_norm_eps": 1e-4,')),
      /field "reference\.model".*reference model/,
    ],
  ];
  it.each(cases)('%s', async (_, change, message) => {
    await change();
    const before = await readdir(at('run'));
    const error = await refusal();
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/Put back what the run was started with, or start a new one/);
    expect(await readdir(at('run'))).toEqual(before);
  });
});

describe('a checkpoint whose file is damaged is refused, naming it and the checkpoint before:', () => {
  const FILES = [
    ...['model.safetensors', 'optimizer.safetensors', 'trainer-state.json', 'inputs.json', 'checksums.json'],
    ...['config.json', 'tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'],
  ];
  const DAMAGES: [string, (file: string) => Promise<void>, RegExp][] = [
    ['a flipped bit at the end', file => flipByte(file, -2), /damaged/],
    [
      'a flipped bit in the middle',
      async file => flipByte(file, (await readFile(file)).length >> 1),
      /damaged/,
    ],
    ['cut', async file => truncate(file, (await readFile(file)).length - 1), /damaged/],
    ['empty', file => truncate(file, 0), /damaged/],
    ['longer', file => appendFile(file, ' '), /damaged/],
    ['missing', file => rm(file), /missing|damaged/],
    ['that of another step', file => cp(file.replace('step-000004', 'step-000002'), file), /damaged/],
  ];
  it.each(FILES)('%s', async name => {
    expect(await readdir(checkpoint())).toContain(name);
    for (const [what, damage, message] of DAMAGES) {
      const bytes = await readFile(checkpoint(name));
      const other = await readFile(checkpoint(name).replace('step-000004', 'step-000002'));
      if (what === 'that of another step' && bytes.equals(other)) continue;
      await damage(checkpoint(name));
      const error = await refusal();
      expect.soft(error, what).toBeInstanceOf(CheckpointError);
      // Checksums of another step name the first file that differs from them.
      if (name !== 'checksums.json' || what !== 'that of another step')
        expect.soft(error.message, what).toContain(checkpoint(name));
      expect.soft(error.message, what).toMatch(message);
      expect
        .soft(error.message, what)
        .toContain(
          `Delete ${checkpoint()}, and --resume goes on from step-000002, the checkpoint before it.`,
        );
      await writeFile(checkpoint(name), bytes);
    }
  });

  it('files that changed places', async () => {
    await rename(checkpoint('model.safetensors'), checkpoint('x'));
    await rename(checkpoint('optimizer.safetensors'), checkpoint('model.safetensors'));
    await rename(checkpoint('x'), checkpoint('optimizer.safetensors'));
    expect((await refusal()).message).toMatch(/(model|optimizer)\.safetensors.*damaged/);
  });

  it('a file that is not of it', async () => {
    await writeFile(checkpoint('shards.json'), '{}');
    expect((await refusal()).message).toMatch(
      /shards\.json: This file is not of the checkpoint.*step-000002/,
    );
  });

  it('the position in the data, and the settings of the model', async () => {
    await edit(checkpoint('trainer-state.json'), text => text.replace('"position": 8', '"position": 6'));
    expect((await refusal()).message).toMatch(/trainer-state\.json.*damaged/);
    await cp(pristine, work, { recursive: true });
    await edit(checkpoint('config.json'), text => text.replace('10000', '20000'));
    expect((await refusal()).message).toMatch(/config\.json.*damaged/);
  });

  it('the whole under the name of another step', async () => {
    await rename(checkpoint(), at('run', 'checkpoints', 'step-000007'));
    expect((await refusal()).message).toMatch(/step-000007: This is the checkpoint of step 4.*step-000004/);
  });

  it('and goes on from the one before, to the same bits, when it was deleted as told', async () => {
    await flipByte(checkpoint('model.safetensors'), -1);
    await refusal();
    await rm(checkpoint(), { recursive: true });
    const events: TrainEvent[] = [];
    await train(config(), { resume: true, onEvent: event => void events.push(event) });
    expect(startOf(events)).toMatchObject({ resumedFromStep: 2 });
    await train(config({ output: { folder: at('whole') } }));
    const [resumed, whole] = ['run', 'whole'].map(run => readFile(at(run, 'final', 'model.safetensors')));
    expect((await resumed!).equals(await whole!)).toBe(true);
  });

  it('the only one', async () => {
    await rm(at('run', 'checkpoints', 'step-000002'), { recursive: true });
    await truncate(checkpoint('config.json'), 3);
    expect((await refusal()).message).toMatch(/no checkpoint before it\. Delete .*from the beginning/);
  });
});

describe('resuming', () => {
  it('starts from the beginning where there is no checkpoint, or no run', async () => {
    const starts = async (): Promise<unknown> => {
      const events: TrainEvent[] = [];
      const short = { training: { batchPairs: 2, maxSteps: 1 } };
      await train(config(short), { resume: true, onEvent: event => void events.push(event) });
      return startOf(events);
    };
    await rm(at('run', 'checkpoints'), { recursive: true });
    expect(await starts()).toMatchObject({ type: 'start', resume: true, resumedFromStep: null });
    await rm(at('run'), { recursive: true });
    expect(await starts()).toMatchObject({ type: 'start', resume: true, resumedFromStep: null });
  });

  it('leaves checkpoints of other trainers alone', async () => {
    const foreign = at('run', 'checkpoints', 'checkpoint-900');
    await cp(checkpoint(), foreign, { recursive: true });
    const events: TrainEvent[] = [];
    const one = { checkpoint: { everySteps: 1, keepLast: 1 } };
    await train(config(one), { resume: true, onEvent: event => void events.push(event) });
    expect(startOf(events)).toMatchObject({ resumedFromStep: 4 });
    expect(await readdir(at('run', 'checkpoints'))).toEqual(['checkpoint-900', 'step-000005']);
  });

  it('of a finished run gives its result again, whatever has become of its inputs', async () => {
    const result = await train(config(), { resume: true });
    expect(result).toMatchObject({ steps: 5, interrupted: false, finalStep: 5 });
    const [log, final] = [at('run', 'metrics.jsonl'), at('run', 'final', 'model.safetensors')];
    const before = await Promise.all([log, final].map(file => readFile(file)));
    await rm(at('model'), { recursive: true });
    await rm(at('train.jsonl'));
    const events: TrainEvent[] = [];
    const again = await train(config(), { resume: true, onEvent: event => void events.push(event) });
    expect(again).toEqual(result);
    expect(events.map(({ type }) => type)).toEqual(['finished', 'end']);
    expect(await Promise.all([log, final].map(file => readFile(file)))).toEqual(before);
    await expect(train(config({ loss: { beta: 0.2 } }), { resume: true })).rejects.toThrow(/loss\.beta/);
  });

  it('goes on with a finished run that is to be longer, and does its end again where that is missing', async () => {
    const result = await train(config(), { resume: true });
    await rm(at('run', 'final'), { recursive: true });
    const repaired = await train(config(), { resume: true });
    expect(repaired).toEqual({ ...result, seconds: repaired.seconds });
    const longer = { training: { batchPairs: 2, maxSteps: 6 } };
    expect(await train(config(longer), { resume: true })).toMatchObject({ steps: 6 });
  });

  it('of a run that was to be shorter ends as one that was that long from the start', async () => {
    const settings = (maxSteps: number, folder: string) =>
      config({
        data: { eval: [] },
        training: { batchPairs: 2, maxSteps },
        evaluation: { everySteps: null },
        output: { folder },
      });
    for (const steps of [1, 2, 5]) await train(settings(steps, at('longer')), { resume: steps > 1 });
    await train(settings(5, at('whole')));
    const [longer, whole] = await Promise.all(
      ['longer', 'whole'].map(async name => {
        const [cache] = await readdir(at(name, 'reference-cache'));
        return Promise.all(
          [
            ['reference-cache', cache!],
            ['final', 'model.safetensors'],
          ].map(path => readFile(at(name, ...path), 'latin1')),
        );
      }),
    );
    expect(longer![0]!.split('\n').sort()).toEqual(whole![0]!.split('\n').sort());
    expect(longer![1] === whole![1]).toBe(true);
  });

  it('computes reference log-probs that have changed in the cache again, and says so', async () => {
    const [name] = await readdir(at('run', 'reference-cache'));
    const changed = at('run', 'reference-cache', name!);
    await edit(changed, text => text.replace(/"rejected":-\d/, '"rejected":-9'));
    const events: TrainEvent[] = [];
    await train(config(), { resume: true, onEvent: event => void events.push(event) });
    expect(events).toContainEqual({
      type: 'notice',
      message: `${changed}: records that are damaged or unfinished are computed again.`,
    });
    const again: TrainEvent[] = [];
    await rm(at('run', 'checkpoints', 'step-000005'), { recursive: true });
    await rm(at('run', 'result.json'));
    await train(config(), { resume: true, onEvent: event => void again.push(event) });
    expect(startOf(again)).toMatchObject({ resumedFromStep: 4 });
    const notices = again.flatMap(event => (event.type === 'notice' ? [event.message] : []));
    expect(notices.filter(message => message.includes(changed))).toEqual([]);
  });

  it('says how to mend a damaged metrics.jsonl', async () => {
    const file = at('run', 'metrics.jsonl');
    const bytes = await readFile(file);
    bytes.fill(0, bytes.indexOf('\n') + 1, bytes.indexOf('\n') + 41);
    await writeFile(file, bytes);
    expect((await refusal()).message).toMatch(/metrics\.jsonl:2: .*delete this line/);
  });
});

describe('weights that are not finite', () => {
  it('are not saved: the run fails, naming the tensor and the last good checkpoint', async () => {
    await rm(at('run'), { recursive: true });
    const settings = {
      schedule: { warmupSteps: 0, name: 'linear' },
      evaluation: { everySteps: null, atStart: false },
      checkpoint: { everySteps: 1 },
      training: { batchPairs: 2, maxSteps: 1 },
      optimizer: { learningRate: 1e38 },
    };
    const failing = train(config(settings));
    await expect(failing).rejects.toThrow(RunError);
    await expect(failing).rejects.toThrow(
      /Step 1: The tensor "[a-z_.0-9]+" holds NaN .*There is no checkpoint yet/,
    );
    expect(await readdir(at('run', 'checkpoints'))).toEqual([]);
    expect(await readdir(at('run'))).not.toContain('final');
  });

  it('end a run that had a good checkpoint with its name', async () => {
    const file = at('run', 'config.yaml');
    await edit(file, text => text.replace('learningRate: 0.001', 'learningRate: 1e+38'));
    const error = await refusal({ optimizer: { learningRate: 1e38 } });
    expect(error).toBeInstanceOf(RunError);
    expect(error.message).toMatch(/Step 5: .*The last good checkpoint is .*step-000004\./);
  });
});
