/**
 * Preference rows to token ids.
 *
 *   plain view       [BOS] x | y+ EOS        augmented view, placement prompt:          [BOS] p x | y+ EOS
 *                            | y- EOS        placement last-user-turn: p inside x, before the user's words
 *
 * p, x and the answers are tokenised separately and concatenated, so that whatever two sequences share, they share
 * token for token. In a text BOS stands once, first, if the tokenizer has one, and EOS ends a whole answer. Of a chat both
 * are what its template writes (completion.ts). A cut answer ends where it was cut.
 */
import type { EncodeCounts, EqualAnswers, PreferenceRow } from '../data/rows.js';
import { ConfigError, DataError } from '../errors.js';
import { reportProgress } from '../progress.js';
import {
  type AugmentationOptions,
  augmentationText,
  encodeAugmentation,
  type Placement,
  renderAugmentedChat,
  splitAroundAugmentation,
} from './augment.js';
import { chatCompletion } from './completion.js';
import { type EncodedPrompt, encodeContinuation, encodePrompt, encodeRendered } from './sequence.js';
import type { Tokenizer } from './tokenizer.js';
import { cutAround, cutPrompt, cutResponse, type KeptSide, type TokenPolicy } from './truncate.js';

export interface EncodeOptions {
  readonly policy: TokenPolicy;
  /** null where nothing reads the augmented view: it is then the plain one. */
  readonly augmentation: AugmentationOptions | null;
  /** Pairs whose answers are the same tokens once they are cut; default drop. */
  readonly equalAnswers?: EqualAnswers;
}

/** Token ids of one pair. */
export interface EncodedPair {
  readonly file: string;
  readonly row: number;
  /** x, with BOS where it has one. */
  readonly prompt: Int32Array;
  /** y+ and, unless it was cut, what ends it: EOS, or the end of the turn in the words of the chat template. */
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
  /** Whether there is an augmented view of its own. */
  readonly augmented: boolean;
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
    augmented: options.augmentation !== null,
    tokenizerHash: tokenizer.hash,
    reports: [...reports.values()],
  };
}

/** What is the same for all rows. */
export interface Encoding extends EncodeOptions {
  readonly tokenizer: Tokenizer;
  readonly placement: Placement;
  /** [BOS], or nothing: what the augmented view of every row begins with. */
  readonly bos: readonly number[];
  readonly sharedAugmentation: Int32Array;
}

/** A row as tokens, before any cut. */
export interface FullPair {
  readonly row: PreferenceRow;
  /** x. */
  readonly prompt: EncodedPrompt;
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
  const { augmentation } = options;
  const textRow = rows.find(({ prompt }) => prompt.kind === 'text');
  const placement = augmentation?.placement ?? (textRow === undefined ? 'last-user-turn' : 'prompt');
  if (augmentation === null || rows.length === 0) {
    return { ...options, tokenizer, placement, bos: [], sharedAugmentation: new Int32Array() };
  }
  if (placement === 'last-user-turn' && textRow !== undefined) {
    throw new ConfigError(
      `The placement last-user-turn needs chat data, but ${textRow.file} holds plain text.`,
      {
        field: 'augmentation.placement',
        hint: 'Use "prompt".',
      },
    );
  }
  const p = encodeAugmentation(tokenizer, augmentation, placement);
  const { bos } = encodePrompt(tokenizer, rows[0]!.prompt, rows[0]);
  const sharedAugmentation = Int32Array.from(placement === 'prompt' ? [...bos, ...p] : []);
  return { ...options, tokenizer, placement, bos, sharedAugmentation };
}

export function encodeInFull(row: PreferenceRow, { tokenizer }: Encoding): FullPair {
  const prompt = encodePrompt(tokenizer, row.prompt, row);
  if (prompt.ids.length === 0) {
    throw new DataError('The prompt has no tokens.', { file: row.file, row: row.row, field: 'prompt' });
  }
  return {
    row,
    prompt,
    chosen: encodeResponse(row, 'chosen', prompt, tokenizer),
    rejected: encodeResponse(row, 'rejected', prompt, tokenizer),
    promptTokens: prompt.bos.length + prompt.ids.length,
  };
}

function encodeResponse(
  row: PreferenceRow,
  field: 'chosen' | 'rejected',
  prompt: EncodedPrompt,
  tokenizer: Tokenizer,
): number[] {
  const { file, row: number } = row;
  if (row.prompt.kind === 'chat') {
    const { messages } = row.prompt;
    const place = { file, row: number, field };
    const text = chatCompletion(tokenizer, messages, prompt.text, row[field], place);
    return encodeContinuation(tokenizer, prompt.ids, text);
  }
  const text = withoutEos(row[field], tokenizer);
  return [...encodeContinuation(tokenizer, prompt.ids, text), tokenizer.eosTokenId];
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
  const { policy } = encoding;
  const { bos, ids } = full.prompt;
  const removed = Math.max(0, full.promptTokens - policy.maxPromptTokens);
  const keep = policy.longPrompt === 'keep-start' ? 'start' : 'end';
  const kept = cutPrompt(ids, removed, keep);
  const responseLimit = policy.maxTokens - (full.promptTokens - removed);
  const chosen = cutResponse(full.chosen, responseLimit);
  const rejected = cutResponse(full.rejected, responseLimit);
  const prompt = Int32Array.from([...bos, ...kept]);
  return {
    file: full.row.file,
    row: full.row.row,
    prompt,
    chosen: Int32Array.from(chosen),
    rejected: Int32Array.from(rejected),
    augmentedPrompt: augmentedPrompt(full, encoding, prompt, removed, keep),
    cut: {
      promptTokens: removed,
      chosenTokens: full.chosen.length - chosen.length,
      rejectedTokens: full.rejected.length - rejected.length,
    },
  };
}

/** @param plain what is left of x */
function augmentedPrompt(
  { row, prompt: { text: promptText, bos } }: FullPair,
  { tokenizer, augmentation, placement, bos: sharedBos }: Encoding,
  plain: Int32Array,
  removed: number,
  keep: KeptSide,
): Int32Array {
  if (augmentation === null) return plain;
  if (placement === 'prompt') {
    if (bos.length !== sharedBos.length) throw mixedBosError(row);
    return plain.subarray(bos.length);
  }
  const inserted = augmentationText(augmentation, placement);
  if (inserted === '' || row.prompt.kind === 'text') return plain;
  const text = renderAugmentedChat(tokenizer, row.prompt.messages, promptText, inserted, row);
  const { ids } = encodeRendered(tokenizer, text.head + text.augmentation + text.tail);
  if (removed === 0) return Int32Array.from([...bos, ...ids]);
  const around = splitAroundAugmentation(tokenizer, ids, text);
  return Int32Array.from([...bos, ...cutAround(around, removed, plain.length - bos.length, keep)]);
}

/** What all augmented views share is computed once, and begins with BOS or does not. */
const mixedBosError = ({ file, row }: PreferenceRow): DataError =>
  new DataError('This prompt and the first one differ in whether they begin with BOS.', {
    file,
    row,
    field: 'augmentation.placement',
    hint: 'Keep chats and plain texts in separate runs, or set augmentation.placement to last-user-turn.',
  });

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
): boolean => equalAnswers !== 'keep' && sameTokens(chosen, rejected);

export const sameTokens = (a: Int32Array, b: Int32Array): boolean =>
  a.length === b.length && a.every((id, index) => id === b[index]);

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
