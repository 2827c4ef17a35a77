/** `sralign data preview CONFIG`: what the rows of the training data become. */
import { styleText } from 'node:util';
import type { EncodedDataset, explainPair } from '@sralign/core';
import { Command } from 'commander';
import { examples, setOption, wholeNumber } from '../options.js';
import { dataSummary } from '../report/data-summary.js';
import { listing, number } from '../report/table.js';
import { withProgress } from '../report/with-progress.js';

type PairExplanation = ReturnType<typeof explainPair>;
type ExplainedText = PairExplanation['prompt'];

interface PreviewOptions {
  rows: number;
  set: string[];
}

/** Pairs that the report looks at: enough to choose limits, soon done on a large data set. */
const MEASURED_PAIRS = 10_000;

export function dataCommand(): Command {
  const preview = new Command('preview')
    .summary('show what each row becomes')
    .description(
      'Shows, for the first rows of data.train, the prompt, the prompt with p, both responses, their tokens and what is ' +
        'cut; then what becomes of the first 10,000 pairs, and their lengths. Nothing is trained or written. The texts are those of the data.',
    )
    .argument('<config>', 'YAML file of a training run')
    .option('--rows <n>', 'rows shown', wholeNumber(0), 3)
    .addOption(setOption())
    .addHelpText(
      'after',
      examples(
        'sralign data preview examples/demo/sr-dpo.yaml --rows 2',
        'sralign data preview examples/demo/sr-dpo.yaml --set tokens.longPrompt=keep-end',
      ),
    )
    .action(withProgress(runPreview));
  return new Command('data')
    .summary('look at preference data')
    .description('Looks at preference data.')
    .addCommand(preview);
}

async function runPreview(file: string, options: PreviewOptions): Promise<void> {
  const core = await import('@sralign/core');
  const config = await core.loadConfig(file, options.set);
  const source = config.model.tokenizer ?? config.model.path;
  const folder = await core.resolveModelFolder(source, config.model.revision, { weights: false });
  const tokenizer = await core.loadTokenizer(folder);
  const equalAnswers = config.method === 'sft' ? 'keep' : 'drop';
  const maxPairs = Math.min(MEASURED_PAIRS, config.data.maxTrainPairs ?? MEASURED_PAIRS);
  const { rows, reports } = await core.readPreferenceRows(config.data.train, config.data.format, {
    maxPairs,
    equalAnswers,
  });
  const encoding = { policy: config.tokens, augmentation: config.augmentation, equalAnswers } as const;
  for (const row of rows.slice(0, options.rows))
    process.stdout.write(`${pairText(core.explainPair(row, tokenizer, encoding))}\n\n`);
  const dataset = core.encodePairs(rows, tokenizer, encoding);
  const report = core.dataReports('training', reports, dataset.reports);
  process.stdout.write(`${report.map(dataSummary).join('\n')}\n`);
  for (const warning of report.flatMap(core.dataWarnings)) process.stdout.write(`warning: ${warning}\n`);
  process.stdout.write(`\n${lengthReport(dataset)}\n`);
}

const FATES = {
  used: '',
  dropped: 'left out: the prompt is too long (tokens.longPrompt: drop)',
  refused: 'refused: the prompt is too long (tokens.longPrompt: error)',
  equal: 'left out: the answers are equal after the cut (tokens.maxTokens)',
};

function pairText(pair: PairExplanation): string {
  const heading = styleText('bold', `${pair.file}:${pair.row}`, { stream: process.stdout });
  return [
    pair.fate === 'used' ? heading : `${heading}  ${FATES[pair.fate]}`,
    part('prompt x', pair.prompt),
    part('p ⊕ x', { ...pair.augmentedPrompt, cutText: '', cutTokens: 0 }),
    part('chosen', pair.chosen),
    part('rejected', pair.rejected),
  ].join('\n');
}

function part(label: string, { text, tokens, cutText, cutTokens }: ExplainedText): string {
  const paint = (style: 'cyan' | 'dim', of: string): string =>
    styleText(style, of, { stream: process.stdout });
  const lines = [paint('cyan', `${label}, ${number(tokens)} tokens`), indented(text)];
  if (cutTokens > 0)
    lines.push(paint('cyan', `  cut, ${number(cutTokens)} tokens`), paint('dim', indented(cutText)));
  return lines.join('\n');
}

const indented = (text: string): string => text.replace(/^/gm, '  | ');

function lengthReport({ pairs, sharedAugmentation }: EncodedDataset): string {
  const augmented = pairs.map(pair => sharedAugmentation.length + pair.augmentedPrompt.length);
  return listing([
    ['pairs', number(pairs.length)],
    ['prompt tokens', spread(pairs.map(pair => pair.prompt.length))],
    ['p ⊕ x tokens', spread(augmented)],
    ['response tokens', spread(pairs.flatMap(pair => [pair.chosen.length, pair.rejected.length]))],
  ]);
}

/** "median 80, 90 % up to 210, longest 256". */
function spread(lengths: readonly number[]): string {
  const sorted = lengths.toSorted((a, b) => a - b);
  const at = (share: number): string =>
    number(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]);
  return `median ${at(0.5)}, 90 % up to ${at(0.9)}, longest ${at(1)}`;
}
