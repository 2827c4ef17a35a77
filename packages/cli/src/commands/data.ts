/** `sralign data preview CONFIG`: what the rows of the training data become. */
import { styleText } from 'node:util';
import type { EncodedDataset, EncodedForRun, PairExplanation, SequenceExplanation } from '@sralign/core';
import { Command } from 'commander';
import { chatTemplateSetting, examples, setOption, settingsOf, wholeNumber } from '../options.js';
import { dataSummary } from '../report/data-summary.js';
import { listing, number } from '../report/table.js';
import { withProgress } from '../report/with-progress.js';

type ExplainedText = PairExplanation['prompt'];
type Join = NonNullable<PairExplanation['joined']>['chosen'];

interface PreviewOptions {
  rows: number;
  set: string[];
  chatTemplate?: string;
  json?: boolean;
}

/** Pairs that the report looks at: enough to choose limits, soon done on a large data set. */
const MEASURED_PAIRS = 10_000;

export function dataCommand(): Command {
  const preview = new Command('preview')
    .summary('show what each row becomes')
    .description(
      'Shows, for the first rows of data.train, the prompt, the prompt with p, both responses (with method sft what is ' +
        'trained on, and what is given), their tokens and what is cut; then what becomes of the first 10,000 pairs, and their lengths. Nothing is trained or written. The texts are those of the data.',
    )
    .argument('<config>', 'YAML file of a training run')
    .option('--rows <n>', 'rows shown', wholeNumber(0), 3)
    .addOption(setOption())
    .addOption(chatTemplateSetting())
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      examples(
        'sralign data preview examples/demo/sft.yaml --rows 2',
        'sralign data preview examples/demo/sr-dpo.yaml --set model.path=examples/models/stories260k',
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
  const config = await core.loadConfig(file, settingsOf(options));
  const { path, revision, tokenizer: tokenizerSource } = config.model;
  const modelFolder = await core.resolveModelFolder(path, revision, { need: 'config' });
  const tokenizerFolder =
    tokenizerSource === null
      ? modelFolder
      : await core.resolveModelFolder(tokenizerSource, revision, { need: 'tokenizer' });
  const tokenizer = await core.loadTokenizer(tokenizerFolder, {
    chatTemplate: config.tokens.chatTemplate,
  });
  const tokenLimits = { ...(await core.readModelSpec(modelFolder)), modelFolder };
  const { sources, notices } = await core.resolveSources(config, 'training');
  const limits = core.measuredLimits(config, MEASURED_PAIRS);
  const { rows, reports } = await core.readRows(sources, core.readingOf(config), limits);
  let encoded: EncodedForRun | Error;
  try {
    // As for evaluation, which reads all that any part of the run reads.
    encoded = core.encodeForRun(rows, 'evaluation', config, tokenizer, tokenLimits);
  } catch (error) {
    encoded = error as Error;
  }
  // What a run would refuse is shown before it is refused.
  const withP = encoded instanceof Error ? core.isRefined(config.method) : encoded.dataset.augmented;
  const encoding = { policy: config.tokens, augmentation: withP ? config.augmentation : null };
  const explain = (row: (typeof rows)[number]): PairExplanation | SequenceExplanation =>
    config.method !== 'sft' && row.kind === 'pair'
      ? core.explainPair(row, tokenizer, encoding)
      : core.explainSequences(row, tokenizer, { policy: config.tokens, turns: config.sft.turns });
  const explainUsable = (row: (typeof rows)[number]): (PairExplanation | SequenceExplanation)[] => {
    try {
      return [explain(row)];
    } catch (error) {
      // Rows that cannot be used are named below, all together.
      if (error instanceof core.DataError) return [];
      throw error;
    }
  };
  const shown = rows.slice(0, options.rows).flatMap(explainUsable);
  let [usable] = shown;
  for (let i = options.rows; usable === undefined && i < rows.length; i++) [usable] = explainUsable(rows[i]!);
  if (usable === undefined && encoded instanceof Error) throw encoded;
  const { ends } = usable ?? explain(rows[0]!);
  if (!options.json) {
    for (const explained of shown) {
      const text = 'sequences' in explained ? sequencesText(explained) : pairText(explained);
      process.stdout.write(`${text}\n\n`);
    }
    process.stdout.write(`${endsReport(ends)}\n\n`);
  }
  if (encoded instanceof Error) throw encoded;
  const { dataset, notice } = encoded;
  const report = core.dataReports('training', reports, dataset.reports, config.method);
  const counter = new core.RowCounter();
  for (const row of rows) counter.add(row);
  const warnings = [
    ...report.flatMap(core.dataWarnings),
    ...core.rowWarnings(counter.counts, 'training', config.method),
  ];
  const ofTurn = ends.endTokens > 1 ? core.endOfTurnNotice(tokenizer) : null;
  const ofTexts = core.textNotices(reports, config.data.chat, tokenizer.chatTemplate);
  const notes = [...notices, notice, ofTurn, ...ofTexts].filter(note => note !== null);
  if (options.json) {
    const preview = { rows: shown, ends, reports: report, warnings, notes, lengths: lengthsOf(dataset) };
    process.stdout.write(`${JSON.stringify(preview)}\n`);
    return;
  }
  process.stdout.write(`${report.map(dataSummary).join('\n')}\n`);
  for (const warning of warnings) process.stdout.write(`warning: ${warning}\n`);
  for (const note of notes) process.stdout.write(`note: ${note}\n`);
  process.stdout.write(`\n${lengthReport(lengthsOf(dataset))}\n`);
}

const FATES = {
  used: '',
  dropped: 'left out: the prompt is too long (tokens.longPrompt: drop)',
  refused: 'refused: the prompt is too long (tokens.longPrompt: error)',
  equal: 'left out: the answers are equal after the cut (tokens.maxTokens)',
};

function heading({ file, row, fate }: PairExplanation | SequenceExplanation): string {
  const place = styleText('bold', `${file}:${row}`, { stream: process.stdout });
  return fate === 'used' ? place : `${place}  ${FATES[fate]}`;
}

function pairText(pair: PairExplanation): string {
  return [
    heading(pair),
    part('prompt x', pair.prompt),
    ...(pair.prompt.text.endsWith(' ')
      ? ['  note: it ends in a space, which the first word of a response then lacks']
      : []),
    ...(pair.augmentedPrompt === null
      ? []
      : [part('p ⊕ x', { ...pair.augmentedPrompt, cutText: '', cutTokens: 0 })]),
    part('chosen', pair.chosen),
    part('rejected', pair.rejected),
    ...(pair.joined === null
      ? []
      : [joinText('chosen', pair.joined.chosen), joinText('rejected', pair.joined.rejected)]),
  ].join('\n');
}

function joinText(answer: 'chosen' | 'rejected', { text, touching }: Join): string {
  const note = touching ? '  note: no white space between them' : '';
  return `  x and ${answer} meet: ${JSON.stringify(`…${text}…`)}${note}`;
}

/** What is trained on, and what is not, in the order of the tokens. */
function sequencesText(explained: SequenceExplanation): string {
  const { sequences, cut } = explained;
  const shown = sequences.flatMap((parts, index) => [
    ...(sequences.length === 1 ? [] : [`piece ${number(index + 1)} of ${number(sequences.length)}`]),
    ...parts.map(({ trained, text, tokens }) =>
      part(trained ? 'trained on' : 'given', { text, tokens, cutText: '', cutTokens: 0 }),
    ),
  ]);
  const removed = [
    ['cut of the prompt', cut.prompt],
    ['cut behind it', cut.end],
  ] as const;
  const cuts = removed
    .filter(([, { tokens }]) => tokens > 0)
    .map(([label, { text, tokens }]) => part(label, { text, tokens, cutText: '', cutTokens: 0 }));
  return [heading(explained), ...shown, ...cuts].join('\n');
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

/** Which rule gave the first and the last token. */
function endsReport({ decidedBy, bos, end, endTokens }: PairExplanation['ends']): string {
  if (decidedBy === 'tokenizer') {
    return listing([
      [
        'BOS',
        bos === null ? 'none: the tokenizer adds none' : `${bos}, once and first: the tokenizer adds it`,
      ],
      ['end of an answer', `${end}, put behind each whole answer; none behind a cut one`],
    ]);
  }
  return listing([
    ['BOS', bos === null ? 'none: the chat template writes none' : `${bos}, as the chat template writes it`],
    [
      'end of an answer',
      end === null
        ? 'none: the chat template writes nothing there, so no model learns from it where to stop'
        : `${end}, as the chat template writes it; nothing is added, and none behind a cut one` +
          (endTokens === 1 ? '' : `; text of ${endTokens} tokens, as the tokenizer has no such token`),
    ],
  ]);
}

/** In tokens. */
interface Spread {
  readonly median: number;
  /** Nine in ten are no longer. */
  readonly most: number;
  readonly longest: number;
}

interface PairLengths {
  readonly pairs: number;
  readonly prompt: Spread;
  /** Null where nothing reads the augmented view. */
  readonly augmentedPrompt: Spread | null;
  readonly response: Spread;
}

interface SequenceLengths {
  readonly sequences: number;
  readonly tokens: Spread;
  /** Of them those that are trained on. */
  readonly trained: Spread;
}

function lengthsOf(dataset: EncodedDataset): PairLengths | SequenceLengths {
  const { sharedAugmentation, augmented: withP } = dataset;
  const pairs = dataset.pairs.filter(example => 'chosen' in example);
  const sequences = dataset.pairs.filter(example => 'trained' in example);
  if (sequences.length > 0) {
    return {
      sequences: sequences.length,
      tokens: spread(sequences.map(({ tokens }) => tokens.length)),
      trained: spread(sequences.map(({ trained }) => trained.reduce((sum, one) => sum + one, 0))),
    };
  }
  const augmented = pairs.map(pair => sharedAugmentation.length + pair.augmentedPrompt.length);
  return {
    pairs: pairs.length,
    prompt: spread(pairs.map(pair => pair.prompt.length)),
    augmentedPrompt: withP ? spread(augmented) : null,
    response: spread(pairs.flatMap(pair => [pair.chosen.length, pair.rejected.length])),
  };
}

function spread(lengths: readonly number[]): Spread {
  const sorted = lengths.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  return { median: at(0.5), most: at(0.9), longest: at(1) };
}

function lengthReport(lengths: PairLengths | SequenceLengths): string {
  const show = ({ median, most, longest }: Spread): string =>
    `median ${number(median)}, 90 % up to ${number(most)}, longest ${number(longest)}`;
  if ('sequences' in lengths) {
    return listing([
      ['sequences', number(lengths.sequences)],
      ['tokens', show(lengths.tokens)],
      ['trained tokens', show(lengths.trained)],
    ]);
  }
  const { pairs, prompt, augmentedPrompt, response } = lengths;
  return listing([
    ['pairs', number(pairs)],
    ['prompt tokens', show(prompt)],
    ...(augmentedPrompt === null ? [] : ([['p ⊕ x tokens', show(augmentedPrompt)]] as const)),
    ['response tokens', show(response)],
  ]);
}
