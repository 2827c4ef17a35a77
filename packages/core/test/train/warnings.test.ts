/** Warnings of runs that learn nothing, or not what their user thinks. */
import { cp, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { describeConfig } from '../../src/config/describe.js';
import { loadConfig, parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { USERS } from '../../src/config/unused.js';
import { RowCounter } from '../../src/data/row-counts.js';
import type { PreferenceRow } from '../../src/data/rows.js';
import type { EncodedPair, EncodedSequence } from '../../src/tokens/encode.js';
import { promptAndAnswer } from '../../src/tokens/examples.js';
import { train } from '../../src/train/trainer.js';
import { configWarnings, LossWatch, rowWarnings, sharedPairsWarnings } from '../../src/train/warnings.js';
import { storiesFolder, temporaryFolder } from '../support.js';

const examples = fileURLToPath(new URL('../../../../examples', import.meta.url));

type Sections = Record<string, Record<string, unknown>>;

const config = (method: string, { data = {}, ...sections }: Sections = {}): Config =>
  parseConfig({
    method,
    model: { path: 'm' },
    data: { format: 'preference', train: ['t.jsonl'], ...data },
    output: { folder: 'r' },
    ...sections,
  });

describe('configWarnings', () => {
  it.each([
    ['dpo', { loss: { lambda: 0.5 } }, 'loss.lambda'],
    ['ipo', { loss: { lambda: 0 } }, 'loss.lambda'],
    ['sft', { loss: { lambda: 0.5 } }, 'loss.lambda'],
    ['sft', { loss: { beta: 0.2 } }, 'loss.beta'],
    ['sft', { loss: { logpReduction: 'mean' } }, 'loss.logpReduction'],
    ['sft', { reference: { model: 'other' } }, 'reference.model'],
    ['sr-dpo', { optimizer: { name: 'adamw', alpha: 0.9 } }, 'optimizer.alpha'],
    ['dpo', { optimizer: { beta1: 0.8 } }, 'optimizer.beta1'],
    ['dpo', { optimizer: { beta2: 0.99 } }, 'optimizer.beta2'],
    ['sr-ipo', { sft: { reduction: 'token' } }, 'sft.reduction'],
    ['dpo', { sft: { turns: 'last' } }, 'sft.turns'],
    ['sft', { augmentation: { prompt: 'p' }, data: { eval: ['e.jsonl'] } }, 'augmentation.prompt'],
    ['dpo', { augmentation: { maxTokens: 1 } }, 'augmentation.maxTokens'],
    [
      'ipo',
      { augmentation: { maxTokens: 1 }, evaluation: { augmented: false }, data: { eval: ['e.jsonl'] } },
      'augmentation.maxTokens',
    ],
    ['sr-dpo', { evaluation: { augmented: false } }, 'evaluation.augmented'],
  ] as [string, Sections, string][])('names what %s does not use of %j', (method, sections, path) => {
    const warnings = configWarnings(config(method, sections), 1000);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      new RegExp(`^${path.replace('.', '\\.')} is set, but this run does not use it`),
    );
  });

  it.each([
    ['sr-dpo', { loss: { lambda: 0.5, beta: 0.2 }, augmentation: { prompt: 'p' } }],
    ['dpo', { loss: { beta: 0.2 }, optimizer: { alpha: 0.9 } }],
    ['dpo', { augmentation: { prompt: 'p' }, data: { eval: ['e.jsonl'] } }],
    ['sft', { sft: { reduction: 'token' }, optimizer: { name: 'adamw', beta1: 0.8, beta2: 0.9 } }],
    // The default, though written down.
    ['dpo', { loss: { lambda: 0.3 } }],
  ] as [string, Sections][])('is silent where %s uses what is set of %j', (method, sections) => {
    expect(configWarnings(config(method, sections), 1000)).toEqual([]);
  });

  it('speaks of keys that there are', () => {
    const keys = describeConfig().map(({ path }) => path);
    expect(keys).toEqual(expect.arrayContaining(USERS.flatMap(user => user.keys)));
  });

  it('has nothing to say of the examples', async () => {
    const files = (await readdir(examples, { recursive: true })).filter(file => file.endsWith('.yaml'));
    expect(files.length).toBeGreaterThan(10);
    for (const file of files) {
      expect([file, configWarnings(await loadConfig(join(examples, file), []), 1000)]).toEqual([file, []]);
    }
  });

  it('names a warm-up that is longer than the run, and what rate it reaches', () => {
    expect(configWarnings(config('dpo'), 3)).toEqual([
      expect.stringMatching(/^The warm-up is longer than the run: 150 steps of 3\. .* no more than 2 % of/),
    ]);
    expect(configWarnings(config('dpo'), 150)).toEqual([]);
    expect(configWarnings(config('dpo', { schedule: { warmupSteps: 0 } }), 1)).toEqual([]);
  });
});

describe('rowWarnings', () => {
  const countsOf = (rows: readonly PreferenceRow[]) => {
    const counter = new RowCounter();
    for (const one of rows) counter.add(one);
    return counter.counts;
  };
  const row = (number: number, chosen: string, rejected: string, file = 'a.jsonl'): PreferenceRow => ({
    kind: 'pair',
    file,
    row: number,
    prompt: { kind: 'text', text: 'Name a colour. ' },
    chosen,
    rejected,
  });
  const good = (count: number): PreferenceRow[] =>
    Array.from({ length: count }, (_, i) => row(i, 'Red', 'No'));

  it('counts empty answers', () => {
    const rows = [...good(20), row(21, ' \n', 'No'), row(22, 'Red', ''), row(23, '', '.', 'b.jsonl')];
    const [a, b, ...more] = rowWarnings(countsOf(rows), 'training', 'dpo');
    expect(a).toMatch(/^a\.jsonl: of 22 training records, answers without any text: 1 chosen, 1 rejected\. /);
    expect(b).toMatch(/^b\.jsonl: of 1 training records, answers without any text: 1 chosen\. /);
    expect(more).toEqual([]);
    expect(rowWarnings(countsOf([row(1, 'Red', '')]), 'training', 'sft')).toEqual([]);
  });

  it('names answers that repeat the prompt beyond a tenth of the records', () => {
    const repeated = [row(0, 'Name a colour.\nRed', 'No'), row(1, '  Name a colour. Red', 'Name a colour.')];
    expect(rowWarnings(countsOf([...good(18), ...repeated]), 'evaluation', 'dpo')).toEqual([]);
    expect(rowWarnings(countsOf([...good(17), ...repeated]), 'evaluation', 'dpo')).toEqual([
      expect.stringMatching(
        /^a\.jsonl: of 19 evaluation records, answers that begin by repeating the prompt: 2 chosen, 1 rejected\. /,
      ),
    ]);
    expect(rowWarnings(countsOf([row(0, 'Red', 'Name a colour. No')]), 'training', 'sft')).toEqual([]);
  });

  it('compares answers of a chat with its last message', () => {
    const chat: PreferenceRow = {
      ...row(0, 'Name a colour. Red', 'No'),
      prompt: {
        kind: 'chat',
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'Name a colour.' },
        ],
      },
    };
    expect(rowWarnings(countsOf([chat]), 'training', 'dpo')[0]).toContain('repeating the prompt: 1 chosen.');
    expect(rowWarnings(countsOf([{ ...chat, chosen: 'Be brief. Red' }]), 'training', 'dpo')).toEqual([]);
  });
});

describe('sharedPairsWarnings', () => {
  const pair = (file: string, id: number, rejected = 9): EncodedPair => ({
    file,
    row: id,
    prompt: Int32Array.of(1, id),
    chosen: Int32Array.of(3, id),
    rejected: Int32Array.of(rejected),
    augmentedPrompt: Int32Array.of(),
    cut: { promptTokens: 0, chosenTokens: 0, rejectedTokens: 0 },
  });
  const many = (file: string, from: number, count: number): EncodedPair[] =>
    Array.from({ length: count }, (_, i) => pair(file, from + i));

  it('names evaluation files whose pairs are training pairs, whatever the files are called', () => {
    const train = many('train.jsonl', 0, 300);
    const evaluation = [...many('copy.jsonl', 100, 100), ...many('held.jsonl', 500, 100)];
    expect(sharedPairsWarnings(train, evaluation)).toEqual([
      expect.stringMatching(
        /^copy\.jsonl: 100 of the 100 evaluation pairs are training pairs as well \(of train\.jsonl\)/,
      ),
    ]);
  });

  it('leaves alone what a hundredth may share by chance', () => {
    const train = many('train.jsonl', 0, 300);
    const overlap = (shared: number) => [
      ...many('held.jsonl', 500, 200 - shared),
      ...many('held.jsonl', 0, shared),
    ];
    expect(sharedPairsWarnings(train, overlap(2))).toEqual([]);
    expect(sharedPairsWarnings(train, overlap(3))).toHaveLength(1);
    expect(sharedPairsWarnings(train, [])).toEqual([]);
  });

  it('looks at what the method reads', () => {
    const other = [pair('held.jsonl', 1, 8)];
    expect(sharedPairsWarnings([pair('train.jsonl', 1)], other)).toEqual([]);
    const sequences = (pairs: EncodedPair[]): EncodedSequence[] =>
      pairs.map(({ file, row, prompt, chosen }) => ({
        ...{ file, row, cut: { promptTokens: 0, endTokens: 0 } },
        ...promptAndAnswer(prompt, chosen),
      }));
    expect(sharedPairsWarnings(sequences([pair('train.jsonl', 1)]), sequences(other))).toHaveLength(1);
  });
});

describe('LossWatch', () => {
  const start = (method: string): number => (method.endsWith('dpo') ? Math.LN2 : 25);
  /** The warnings of steps with these losses and margins. */
  function watch(
    method: string,
    steps: number,
    metrics: (step: number) => { loss: number; margin: number },
    { warmupSteps = 0, before = 0, totalSteps = 1000 } = {},
  ): [step: number, message: string][] {
    const watcher = new LossWatch(config(method, { schedule: { warmupSteps } }), before, totalSteps);
    return Array.from({ length: steps }, (_, i) => before + i + 1).flatMap(step => {
      const warning = watcher.add(step, metrics(step));
      return warning === null ? [] : [[step, warning] as [number, string]];
    });
  }
  const still = (method: string) => (step: number) => ({
    loss: start(method) * (1 + 0.009 * (-1) ** step),
    margin: 0.1 * (-1) ** step,
  });

  it.each([
    ['dpo', 'ln 2 = 0.6931'],
    ['sr-dpo', 'ln 2 = 0.6931'],
    ['ipo', '1 / (4 beta^2) = 25'],
    ['sr-ipo', '1 / (4 beta^2) = 25'],
  ])('says once that the loss of %s stays where it starts', (method, value) => {
    const warnings = watch(method, 300, still(method), { warmupSteps: 100 });
    expect(warnings.map(([step]) => step)).toEqual([150]);
    expect(warnings[0]![1]).toContain(value);
    expect(warnings[0]![1]).toContain('in the 50 steps up to step 150');
  });

  it('is silent where one step departs, in loss or margin', () => {
    for (const other of [
      { loss: 0.98 * Math.LN2, margin: 0 },
      { loss: Math.LN2, margin: 0.3 },
      { loss: Math.LN2, margin: -0.3 },
      { loss: Number.NaN, margin: 0 },
    ]) {
      expect(watch('dpo', 300, step => (step === 30 ? other : still('dpo')(step)))).toEqual([]);
    }
  });

  it('looks at short runs at their end, and not at runs of a few steps', () => {
    expect(watch('dpo', 12, still('dpo'), { totalSteps: 12 }).map(([step]) => step)).toEqual([12]);
    expect(watch('dpo', 9, still('dpo'), { totalSteps: 9 })).toEqual([]);
    expect(watch('dpo', 150, still('dpo'), { totalSteps: 150, warmupSteps: 145 })).toEqual([]);
  });

  it('begins where a run is resumed, and has nothing to say of SFT', () => {
    expect(watch('dpo', 100, still('dpo'), { before: 200 }).map(([step]) => step)).toEqual([250]);
    expect(watch('sft', 300, still('dpo'))).toEqual([]);
  });
});

describe('train', () => {
  it('warns of all of it', async () => {
    await using folder = await temporaryFolder();
    const pairs = Array.from({ length: 40 }, (_, i) => ({
      prompt: `Say ${i}.`,
      chosen: `Say ${i}. ${i}`,
      rejected: i === 3 ? '' : 'No',
    }));
    const file = join(folder.path, 'pairs.jsonl');
    await writeFile(file, pairs.map(pair => JSON.stringify(pair)).join('\n'));
    const copy = join(folder.path, 'copy.jsonl');
    await cp(file, copy);
    const warnings: string[] = [];
    const settings = parseConfig({
      method: 'dpo',
      model: { path: storiesFolder },
      data: { format: 'preference', train: [file], eval: [copy] },
      loss: { lambda: 0.7 },
      optimizer: { learningRate: 1e-12 },
      schedule: { warmupSteps: 0 },
      training: { batchPairs: 2, maxSteps: 10 },
      evaluation: { augmented: false },
      output: { folder: join(folder.path, 'run') },
    });
    await train(settings, {
      onEvent: event => {
        if (event.type === 'warning') warnings.push(event.message);
      },
    });
    expect(warnings).toEqual(
      [
        /pairs\.jsonl: of 40 training records, answers without any text: 1 rejected/,
        /pairs\.jsonl: of 40 training records, answers that begin by repeating the prompt: 40 chosen/,
        /copy\.jsonl: of 40 evaluation records, answers without any text: 1 rejected/,
        /copy\.jsonl: of 40 evaluation records, answers that begin by repeating the prompt: 40 chosen/,
        /copy\.jsonl: 40 of the 40 evaluation pairs are training pairs as well \(of .*pairs\.jsonl\)/,
        /^loss\.lambda is set, but this run does not use it \(method: dpo,/,
        /^The loss has stayed at ln 2 = 0\.6931, .* in the 10 steps up to step 10\./,
      ].map(pattern => expect.stringMatching(pattern)),
    );
  });
});
