/** `sralign init MODEL DATA`: a configuration for a model and a data file, made by looking at both. */
import { existsSync } from 'node:fs';
import type { Method, ReadReport } from '@sralign/core';
import { Command, Option } from 'commander';
import { examples } from '../options.js';
import { withProgress } from '../report/with-progress.js';
import { type FirstSettings, yamlOf } from './init-yaml.js';

interface InitOptions {
  method?: Method;
  eval?: string;
  out: string;
  json?: boolean;
}

/** Pairs that are looked at: enough for the format and the lengths, soon read. */
const LOOKED_AT_PAIRS = 1000;

/** Less room than this for prompt and answer beside p, and nothing is left to learn from. */
const LEAST_TOKENS = 64;

export function initCommand(): Command {
  return new Command('init')
    .summary('write a configuration for a model and a data file')
    .description(
      'Looks at a model and a data file and writes a configuration for them, with comments: the format of the data, the chat ' +
        'template and the lengths that fit the model are set. It can be trained as it is.',
    )
    .argument('<model>', 'a folder, a name on the hub, a RUN, or RUN@100, its checkpoint of that step')
    .argument('<data>', 'training data, as in data.train')
    .option('--out <file>', 'file to write; it must not exist', 'sralign.yaml')
    .addOption(
      new Option('--method <method>', 'default: sr-dpo; sft for data without preferences').choices([
        'sft',
        'dpo',
        'ipo',
        'sr-dpo',
        'sr-ipo',
      ]),
    )
    .option('--eval <data>', 'evaluation data, as in data.eval')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      examples(
        'sralign init examples/models/stories260k examples/data/hh-rlhf/harmless-base.train.jsonl.gz --out first.yaml',
        'sralign init examples/models/stories260k examples/data/hh-rlhf/harmless-base.train.jsonl.gz \\\n' +
          '      --eval examples/data/hh-rlhf/harmless-base.eval.jsonl.gz --method dpo --out second.yaml',
      ),
    )
    .action(withProgress(runInit));
}

async function runInit(model: string, data: string, options: InitOptions): Promise<void> {
  const core = await import('@sralign/core');
  if (existsSync(options.out)) {
    throw new core.ConfigError('The file exists already.', {
      file: options.out,
      field: '--out',
      hint: 'Name another one by --out.',
    });
  }
  const settings = await look(model, data, options);
  const text = yamlOf(settings);
  await core.writeFileAtomic(options.out, text);
  const config = await core.loadConfig(options.out);
  const { format, chatTemplate, method } = settings;
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ file: options.out, config })}\n`
      : `${options.out}: ${method} on ${format} data${chatTemplate === null ? '' : `, chat template ${chatTemplate}`}. Next:\n` +
          `  sralign data preview ${options.out}\n  sralign train ${options.out}\n`,
  );
}

async function look(model: string, data: string, options: InitOptions): Promise<FirstSettings> {
  const core = await import('@sralign/core');
  const folder = await core.resolveModelFolder(model, 'main', { need: 'config' });
  const { maxPositions, modelType } = await core.readModelSpec(folder);
  const tokenizer = await core.loadTokenizer(folder);
  const pTokens = tokenizer.encode(core.DEFAULT_AUGMENTATION_PROMPT).length + 2;
  const augmentationTokens = Math.max(128, Math.ceil(pTokens / 16) * 16);
  const fitsP = maxPositions - augmentationTokens >= LEAST_TOKENS;

  const read = async (method: Method, file: string) => {
    const config = core.parseConfig({
      method,
      model: { path: model },
      data: { train: file },
      output: { folder: 'run' },
    });
    const { sources } = await core.resolveSources(config, 'training');
    const limits = core.measuredLimits(config, LOOKED_AT_PAIRS);
    const { reports } = await core.readRows(sources, core.readingOf(config), limits);
    return { method, report: total(reports) };
  };
  const first = options.method ?? (fitsP ? 'sr-dpo' : 'dpo');
  const found = await read(first, data).catch(async error => {
    // Data without preferences are what sft is for.
    const ofMethod = error instanceof core.SralignError && error.details.field === 'method';
    if (options.method !== undefined || !ofMethod) throw error;
    return read('sft', data).catch(() => {
      throw error;
    });
  });
  const { method, report } = found;
  const evaluation = options.eval === undefined ? null : (await read(method, options.eval)).report;
  if (evaluation !== null && evaluation.format !== report.format) {
    throw new core.DataError(
      `The evaluation data are ${evaluation.format}, but the training data ${report.format}.`,
      { file: options.eval!, field: 'data.eval', hint: 'Use data of one format, or leave --eval out.' },
    );
  }
  const refined = core.isRefined(method);
  const maxTokens = Math.min(512, maxPositions - (refined ? augmentationTokens : 0));
  const pairs = report.stoppedEarly ? null : report.used;
  const batchPairs = pairs === null ? 64 : powerOfTwo(Math.min(64, Math.max(1, pairs / 8)));
  return {
    ...{ method, model, modelType, maxPositions, data, eval: options.eval ?? null },
    format: report.format!,
    by: report.by,
    isChat: report.kind === 'chat',
    chatTemplate: report.kind === 'chat' && tokenizer.chatTemplate === null ? 'chatml' : null,
    ...{ maxTokens, augmentationTokens, refined, pairs, batchPairs },
    warmupSteps: pairs === null ? 150 : Math.min(150, Math.floor(pairs / batchPairs / 10)),
    folder: `runs/${options.out.replace(/^.*\//, '').replace(/\.ya?ml$/, '')}`,
  };
}

/** Of a folder or pattern of files, all of them, in the format of the first. */
function total(reports: readonly ReadReport[]): ReadReport {
  return {
    ...reports[0]!,
    used: reports.reduce((sum, { used }) => sum + used, 0),
    stoppedEarly: reports.some(({ stoppedEarly }) => stoppedEarly),
  };
}

const powerOfTwo = (most: number): number => 2 ** Math.floor(Math.log2(most));
