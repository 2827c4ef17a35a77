/**
 * Preference rows to token ids.
 *
 *   plain view       [BOS] x | y+ EOS        augmented view, placement prompt:          [BOS] p x | y+ EOS
 *                            | y- EOS        placement last-user-turn: p inside x, before the user's words
 *
 * p, x and the answers are tokenised separately and concatenated, so that whatever two sequences share, they share
 * token for token. BOS stands once, first, if the tokenizer has one. A whole answer ends in EOS, a cut one does not.
 */
import type { ChatMessage, EncodeCounts, EqualAnswers, PreferenceRow } from '../data/rows.js';
import { ConfigError, DataError } from '../errors.js';
import { reportProgress } from '../progress.js';
import {
  type AugmentationOptions,
  encodeAugmentation,
  renderAugmentedChat,
  splitAroundAugmentation,
} from './augment.js';
import { renderChat } from './chat-template.js';
import { encodeWithoutBos, type Tokenizer } from './tokenizer.js';
import { cutAround, cutPrompt, cutResponse, type KeptSide, type TokenPolicy } from './truncate.js';

export interface EncodeOptions {
  readonly policy: TokenPolicy;
  readonly augmentation: AugmentationOptions;
  /** Pairs whose answers are the same tokens once they are cut; default drop. */
  readonly equalAnswers?: EqualAnswers;
}

/** Token ids of one pair. */
export interface EncodedPair {
  readonly file: string;
  readonly row: number;
  /** x, with BOS if the tokenizer has one. */
  readonly prompt: Int32Array;
  /** y+ and, unless it was cut, its EOS. */
  readonly chosen: Int32Array;
  /** y- likewise. */
  readonly rejected: Int32Array;
  /** What follows the shared augmentation in the augmented view. */
  readonly augmentedPrompt: Int32Array;
  /** Tokens removed by the length policy. */
  readonly cut: {
    readonly promptTokens: number;
    readonly chosenTokens: number;
    readonly rejectedTokens: number;
  };
}

/** What became of the pairs of one file. */
export interface EncodeReport extends EncodeCounts {
  readonly file: string;
}

export interface EncodedDataset {
  readonly pairs: EncodedPair[];
  /** [BOS] p, the beginning of every augmented view, for placement prompt; empty for last-user-turn. */
  readonly sharedAugmentation: Int32Array;
  readonly tokenizerHash: string;
  readonly reports: EncodeReport[];
}

/**
 * Encodes all rows.
 *
 * @throws DataError (file, row) for a prompt that is empty or, where the policy says so, too long, for a conversation
 *   the chat template refuses, or when no pair is left; ConfigError for a p beyond its budget or a placement that the
 *   data do not allow; ModelError when a chat template is needed and missing
 */
export function encodePairs(
  rows: readonly PreferenceRow[],
  tokenizer: Tokenizer,
  options: EncodeOptions,
): EncodedDataset {
  const encoding = prepareEncoding(rows, tokenizer, options);
  const pairs: EncodedPair[] = [];
  const reports = new Map<string, EncodeReport>();
  for (const [done, row] of rows.entries()) {
    if (done % 100 === 0) reportProgress({ phase: 'encoding', done, total: rows.length, unit: 'pairs' });
    const report = reports.get(row.file) ?? newReport(row.file);
    reports.set(row.file, report);
    const full = encodeInFull(row, encoding);
    const fate = promptFate(full, options.policy);
    if (fate === 'refuse') throw longPromptError(full, options.policy);
    if (fate === 'drop') {
      report.dropped++;
      continue;
    }
    const pair = fitToPolicy(full, encoding);
    if (saysNothing(pair, options)) {
      report.equalAfterCut++;
      continue;
    }
    pairs.push(pair);
    countInto(report, pair);
  }
  reportProgress({ phase: 'encoding', done: rows.length, total: rows.length, unit: 'pairs' });
  if (pairs.length === 0) throw emptyError([...reports.values()]);
  return {
    pairs,
    sharedAugmentation: encoding.sharedAugmentation,
    tokenizerHash: tokenizer.hash,
    reports: [...reports.values()],
  };
}

/** What is the same for all rows. */
export interface Encoding extends EncodeOptions {
  readonly tokenizer: Tokenizer;
  readonly placement: 'prompt' | 'last-user-turn';
  /** [BOS], or nothing. */
  readonly bos: readonly number[];
  readonly sharedAugmentation: Int32Array;
}

/** A row as tokens, before any cut. */
export interface FullPair {
  readonly row: PreferenceRow;
  /** x as text; a chat rendered up to the opening of the answer. */
  readonly promptText: string;
  /** x without BOS. */
  readonly prompt: readonly number[];
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
  /** Tokens of x, BOS included. */
  readonly promptTokens: number;
}

export function prepareEncoding(
  rows: readonly PreferenceRow[],
  tokenizer: Tokenizer,
  options: EncodeOptions,
): Encoding {
  const textRow = rows.find(({ prompt }) => prompt.kind === 'text');
  const placement = options.augmentation.placement ?? (textRow === undefined ? 'last-user-turn' : 'prompt');
  if (placement === 'last-user-turn' && textRow !== undefined) {
    throw new ConfigError(
      `The placement last-user-turn needs chat data, but ${textRow.file} holds plain text.`,
      {
        field: 'augmentation.placement',
        hint: 'Use "prompt".',
      },
    );
  }
  const bos = tokenizer.bosTokenId === null ? [] : [tokenizer.bosTokenId];
  const augmentation = encodeAugmentation(tokenizer, options.augmentation);
  const sharedAugmentation = Int32Array.from(placement === 'prompt' ? [...bos, ...augmentation] : []);
  return { ...options, tokenizer, placement, bos, sharedAugmentation };
}

export function encodeInFull(row: PreferenceRow, { tokenizer, bos }: Encoding): FullPair {
  const promptText =
    row.prompt.kind === 'text' ? row.prompt.text : renderChat(tokenizer, row.prompt.messages, true, row);
  const prompt = encodeWithoutBos(tokenizer, promptText);
  if (prompt.length === 0) {
    throw new DataError('The prompt has no tokens.', { file: row.file, row: row.row, field: 'prompt' });
  }
  const response = (field: 'chosen' | 'rejected'): number[] => {
    const text = withoutEos(responseText(row, field, promptText, tokenizer), tokenizer);
    return [...tokenizer.encode(text, { continues: true }), tokenizer.eosTokenId];
  };
  return {
    row,
    promptText,
    prompt,
    chosen: response('chosen'),
    rejected: response('rejected'),
    promptTokens: bos.length + prompt.length,
  };
}

/** What the policy does with the prompt of a pair. */
export function promptFate(
  { promptTokens }: FullPair,
  { maxPromptTokens, longPrompt }: TokenPolicy,
): 'fits' | 'cut' | 'drop' | 'refuse' {
  if (promptTokens <= maxPromptTokens) return 'fits';
  if (longPrompt === 'drop') return 'drop';
  return longPrompt === 'error' ? 'refuse' : 'cut';
}

/** Applies the policy to a pair whose prompt fits or is to be cut. */
export function fitToPolicy(full: FullPair, encoding: Encoding): EncodedPair {
  const { policy, bos } = encoding;
  const removed = Math.max(0, full.promptTokens - policy.maxPromptTokens);
  const keep = policy.longPrompt === 'keep-start' ? 'start' : 'end';
  const prompt = cutPrompt(full.prompt, removed, keep);
  const responseLimit = policy.maxTokens - (full.promptTokens - removed);
  const chosen = cutResponse(full.chosen, responseLimit);
  const rejected = cutResponse(full.rejected, responseLimit);
  return {
    file: full.row.file,
    row: full.row.row,
    prompt: Int32Array.from([...bos, ...prompt]),
    chosen: Int32Array.from(chosen),
    rejected: Int32Array.from(rejected),
    augmentedPrompt: Int32Array.from(augmentedPrompt(full, encoding, prompt, removed, keep)),
    cut: {
      promptTokens: removed,
      chosenTokens: full.chosen.length - chosen.length,
      rejectedTokens: full.rejected.length - rejected.length,
    },
  };
}

function augmentedPrompt(
  { row, promptText }: FullPair,
  { tokenizer, augmentation, placement, bos }: Encoding,
  prompt: readonly number[],
  removed: number,
  keep: KeptSide,
): readonly number[] {
  if (placement === 'prompt') return prompt;
  if (augmentation.prompt === '' || row.prompt.kind === 'text') return [...bos, ...prompt];
  const text = renderAugmentedChat(tokenizer, row.prompt.messages, promptText, augmentation.prompt, row);
  const ids = encodeWithoutBos(tokenizer, text.head + augmentation.prompt + text.tail);
  if (removed === 0) return [...bos, ...ids];
  return [...bos, ...cutAround(splitAroundAugmentation(tokenizer, ids, text), removed, prompt.length, keep)];
}

/** The answer as it stands behind the prompt: for a chat, what the template adds for the assistant's message. */
function responseText(
  row: PreferenceRow,
  field: 'chosen' | 'rejected',
  promptText: string,
  tokenizer: Tokenizer,
): string {
  if (row.prompt.kind === 'text') return row[field];
  const answer: ChatMessage = { role: 'assistant', content: row[field] };
  const rendered = renderChat(tokenizer, [...row.prompt.messages, answer], false, row);
  if (!rendered.startsWith(promptText)) {
    throw new DataError('The chat template renders the prompt differently once it is answered.', {
      file: row.file,
      row: row.row,
      field,
      hint: 'Prompt and answer cannot be told apart; use another chat template.',
    });
  }
  return rendered.slice(promptText.length);
}

/** Removes an EOS that already ends the text, and the white space a template writes behind it. */
function withoutEos(text: string, { specialTokens }: Tokenizer): string {
  const eos = specialTokens.eos_token!;
  const trimmed = text.trimEnd();
  return trimmed.endsWith(eos) ? trimmed.slice(0, -eos.length) : text;
}

const newReport = (file: string): EncodeReport => ({
  file,
  pairs: 0,
  dropped: 0,
  equalAfterCut: 0,
  pairsCut: 0,
  promptsCut: 0,
  chosenCut: 0,
  rejectedCut: 0,
});

function countInto(report: EncodeReport, { cut }: EncodedPair): void {
  report.pairs++;
  if (cut.promptTokens > 0) report.promptsCut++;
  if (cut.chosenTokens > 0) report.chosenCut++;
  if (cut.rejectedTokens > 0) report.rejectedCut++;
  if (cut.promptTokens + cut.chosenTokens + cut.rejectedTokens > 0) report.pairsCut++;
}

/** Whether the answers of a pair are the same tokens, and the method learns from their difference. */
export const saysNothing = (
  { chosen, rejected }: Pick<EncodedPair, 'chosen' | 'rejected'>,
  { equalAnswers }: Pick<EncodeOptions, 'equalAnswers'>,
): boolean =>
  equalAnswers !== 'keep' &&
  chosen.length === rejected.length &&
  chosen.every((id, index) => id === rejected[index]);

function longPromptError({ row, promptTokens }: FullPair, { maxPromptTokens }: TokenPolicy): DataError {
  return new DataError(`The prompt has ${promptTokens} tokens; the limit is ${maxPromptTokens}.`, {
    file: row.file,
    row: row.row,
    field: 'prompt',
    hint: 'Set tokens.longPrompt to keep-end, keep-start or drop, or raise tokens.maxPromptTokens.',
  });
}

function emptyError(reports: readonly EncodeReport[]): DataError {
  const [first] = reports;
  if (first === undefined) return new DataError('There are no rows to encode.');
  const sum = (key: 'dropped' | 'equalAfterCut'): number =>
    reports.reduce((total, report) => total + report[key], 0);
  const { file } = first;
  if (sum('equalAfterCut') === 0) {
    return new DataError('No pair is left: every prompt is too long.', {
      file,
      hint: 'Raise tokens.maxPromptTokens, or set tokens.longPrompt to keep-end.',
    });
  }
  return new DataError(
    `No pair is left: ${sum('dropped')} prompts are too long, and ${sum('equalAfterCut')} pairs of answers are equal once they are cut.`,
    { file, hint: 'Raise tokens.maxTokens.' },
  );
}
