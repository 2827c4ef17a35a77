import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { noEncodeCounts } from '../../src/data/rows.js';
import { writeModelCard } from '../../src/hf/model-card.js';
import { temporaryFolder } from '../support.js';

function config(method: string, path: string): Config {
  return parseConfig({
    method,
    model: { path },
    data: { format: 'hh', train: ['pairs.jsonl'] },
    loss: { lambda: 0.5 },
    output: { folder: 'run' },
  });
}

const { pairs: _, ...none } = noEncodeCounts();
const read = {
  format: 'hh',
  by: ['chosen', 'rejected'],
  kind: 'text',
  badRows: [],
  readAs: 'hh',
  source: null,
  notDrawn: 0,
} as const;

async function card(folder: string, config: Config, modelFolder: string, baseCard: string | null = null) {
  await writeModelCard(folder, {
    config,
    modelFolder,
    baseCard,
    reports: [
      {
        file: 'pairs.jsonl',
        rows: 10,
        used: 7,
        ...none,
        ...read,
        examples: [],
        purpose: 'training',
        unit: config.method === 'sft' ? 'examples' : 'pairs',
        stoppedEarly: false,
        skipped: { 'no prompt': 3 },
        pairs: 5,
        dropped: 2,
        leftOut: { 'no prompt': 3, 'prompt too long': 2 },
        pairsCut: 4,
        promptsCut: 1,
        chosenCut: 3,
      },
      {
        file: 'more.jsonl',
        rows: 5,
        used: 5,
        ...none,
        ...read,
        examples: [],
        purpose: 'evaluation',
        unit: config.method === 'sft' ? 'examples' : 'pairs',
        stoppedEarly: true,
        skipped: {},
        pairs: 5,
        leftOut: {},
      },
    ],
    trainPairs: 12,
    steps: 3,
    metrics: { eval_loss: 0.123456789, 'eval_rewards/accuracies': 0.75 },
    intervals: { 'eval_rewards/accuracies': { pairs: 8, level: 0.95, low: 0.4093, high: 0.9285 } },
    seconds: 90,
  });
  const text = await readFile(join(folder, 'README.md'), 'utf8');
  return { text, frontMatter: parse(text.split('---\n')[1]!) as Record<string, unknown> };
}

describe('writeModelCard', () => {
  it('tells method, data, results and settings, and credits a hub model', async () => {
    await using folder = await temporaryFolder();
    const base = join(folder.path, 'models--org--base/snapshots', 'a'.repeat(40));
    const baseCard = '---\nlicense: apache-2.0\nlanguage: en\n---\n# Base\n';
    const { text, frontMatter } = await card(folder.path, config('sr-dpo', 'org/base'), base, baseCard);
    expect(frontMatter).toEqual({
      base_model: 'org/base',
      library_name: 'transformers',
      pipeline_tag: 'text-generation',
      license: 'apache-2.0',
      tags: ['sralign', 'sr-dpo', 'preference-optimization'],
    });
    expect(text).toContain('# org/base after self-refined DPO (Sr-DPO)');
    expect(text).toContain('L = -log σ(β·m - λ·Δ)');
    expect(text).toContain('λ = 0.5');
    expect(text).toContain('12 pairs, 3 steps of 64 pairs');
    expect(text).toContain(
      '| pairs.jsonl | training | 10 | 5 | 3 no prompt; 2 prompt too long | 1 prompt, 3 chosen |',
    );
    expect(text).toContain('| more.jsonl | evaluation | the first 5 | 5 | - | - |');
    expect(text).toContain('| eval_loss | 0.123457 |');
    expect(text).toContain('| eval_rewards/accuracies | 0.75 (of 8 pairs; 95 % interval 0.409 to 0.928) |');
    expect(text).toContain('The run took 90 s on ');
    expect(text).toContain('2405.21040');
    const settings = /## Settings\n\n```yaml\n(.*?)```/s.exec(text)![1]!;
    expect(parse(settings)).toEqual(config('sr-dpo', 'org/base'));
  });

  it('claims neither hub model nor licence for a local folder without a card', async () => {
    await using folder = await temporaryFolder();
    const { text, frontMatter } = await card(folder.path, config('sft', folder.path), folder.path);
    expect(frontMatter).toEqual({
      library_name: 'transformers',
      pipeline_tag: 'text-generation',
      tags: ['sralign', 'sft'],
    });
    expect(text).toContain('L = -log π(y⁺|x)');
    expect(text).not.toContain('Δ');
    expect(text).toContain('The loss of an answer y⁺ to a prompt x is');
    expect(text).toContain('12 examples, 3 steps of 64 examples.');
    expect(text).toContain('| records | examples |');
  });

  it('keeps the name of the base model over several runs', async () => {
    await using folder = await temporaryFolder();
    const base = join(folder.path, 'models--org--base/snapshots', 'a'.repeat(40));
    const licence = '---\nlicense: mit\n---\n';
    const { text: sft } = await card(folder.path, config('sft', 'org/base'), base, licence);
    const run = join(folder.path, 'runs/sft/final');
    const { text: dpo, frontMatter } = await card(folder.path, config('dpo', run), run, sft);
    expect(dpo).toContain(
      '# org/base after supervised fine-tuning (SFT), then direct preference optimization (DPO)\n\n' +
        'Trained by sralign from org/base after supervised fine-tuning (SFT).',
    );
    expect(frontMatter).toMatchObject({ base_model: 'org/base', license: 'mit' });
    const { text: third } = await card(folder.path, config('ipo', run), run, dpo);
    expect(third).toContain('optimization (DPO), then identity preference optimization (IPO)\n');
  });

  it.each([
    ['runs/mine/final', '# mine after'],
    ['runs/mine/checkpoints/step-000020', '# mine, step 20, after'],
    ['models/base', '# base after'],
  ])('calls a model without a card by its folder: %s', async (place, title) => {
    await using folder = await temporaryFolder();
    const model = join(folder.path, place);
    expect((await card(folder.path, config('dpo', model), model)).text).toContain(title);
  });

  it('publishes no folder of this machine', async () => {
    await using folder = await temporaryFolder();
    const here = join(process.cwd(), 'data', 'pairs.jsonl');
    const { model, data, reference, output } = config('dpo', join(folder.path, 'base'));
    const places = {
      ...config('dpo', join(folder.path, 'base')),
      model: { ...model, tokenizer: join(folder.path, 'words') },
      data: {
        ...data,
        train: [here, join(folder.path, 'more.jsonl')],
        eval: [join(folder.path, 'held.jsonl')],
        cacheFolder: join(folder.path, 'sets'),
      },
      reference: { ...reference, model: join(folder.path, 'sft'), cacheFolder: join(folder.path, 'cache') },
      output: { ...output, folder: join(folder.path, 'run') },
    };
    const { text } = await card(folder.path, places, join(folder.path, 'base'));
    expect(text).not.toContain(folder.path);
    expect(text).not.toContain(process.cwd());
    const settings = parse(/## Settings\n\n```yaml\n(.*?)```/s.exec(text)![1]!) as Config;
    expect(settings.model).toMatchObject({ path: 'base', tokenizer: 'words' });
    expect(settings.data).toMatchObject({
      train: [join('data', 'pairs.jsonl'), 'more.jsonl'],
      eval: ['held.jsonl'],
    });
    expect(settings.reference).toMatchObject({ model: 'sft', cacheFolder: 'cache' });
    expect(settings.output.folder).toBe('run');
  });
});
