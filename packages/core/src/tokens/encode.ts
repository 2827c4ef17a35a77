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

import type { OnBadRow } from '../data/reading.js';
import { type Answer, type PreferenceRow, type PromptContent, textOf } from '../data/rows.js';
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
import { badRowsIn, EncodeCounter, type EncodeReport, emptyError, isBadRow } from './encode-counter.js';
import { isPair, type PairTokens, type SequenceTokens } from './examples.js';
import { type EncodedPrompt, encodeContinuation, encodePrompt, encodeRendered } from './sequence.js';
import type { Tokenizer } from './tokenizer.js';
import { checkCallsWritten, checkToolsWritten, fieldsOf } from './tool-calls.js';
import { cutAround, cutPrompt, cutResponse, type KeptSide, type TokenPolicy } from './truncate.js';

export interface EncodeOptions {
  readonly policy: TokenPolicy;
  /** null where nothing reads the augmented view: it is then the plain one. */
  readonly augmentation: AugmentationOptions | null;
  /** Rows that cannot be encoded; default error. */
  readonly onBadRow?: OnBadRow;
}

/** A pair as tokens. */
export interface EncodedPair extends PairTokens {
  readonly file: string;
  readonly row: number;
  /** Tokens removed by the length policy. */
  readonly cut: {
    readonly promptTokens: number;
    readonly chosenTokens: number;
    readonly rejectedTokens: number;
  };
}

/** An example of SFT as tokens; the last one is trained on. */
export interface EncodedSequence extends SequenceTokens {
  readonly file: string;
  readonly row: number;
  /** Tokens removed by the length policy: of a prompt, and behind what is left. */
  readonly cut: { readonly promptTokens: number; readonly endTokens: number };
}

export type EncodedExample = EncodedPair | EncodedSequence;

/** The token arrays of an example. */
export const tokensOf = (example: EncodedExample): Int32Array[] =>
  isPair(example)
    ? [example.prompt, example.augmentedPrompt, example.chosen, example.rejected]
    : [example.tokens];

export interface EncodedDataset<Example extends EncodedExample = EncodedExample> {
  /** Pairs, or for SFT sequences. */
  readonly pairs: Example[];
  /** [BOS] p, the beginning of every augmented view, for placement prompt; empty for last-user-turn, and for SFT. */
  readonly sharedAugmentation: Int32Array;
  /** Whether there is an augmented view of its own. */
  readonly augmented: boolean;
  readonly tokenizerHash: string;
  readonly reports: EncodeReport[];
}

/**
 * Encodes the rows of preference data.
 *
 * @throws DataError (file, row) for a prompt that is empty or, where the policy says so, too long, for a conversation
 *   the chat template refuses, or when no pair is left; ConfigError for a p beyond its budget or a placement that the
 *   data do not allow; ModelError when a chat template is needed and missing
 */
export function encodePairs(
  rows: readonly PreferenceRow[],
  tokenizer: Tokenizer,
  options: EncodeOptions,
): EncodedDataset<EncodedPair> {
  const encoding = prepareEncoding(rows, tokenizer, options) ?? encodingWithout(options, tokenizer);
  const { pairs, reports } = encodeEach(rows, row => encodePair(row, encoding), options.onBadRow);
  return {
    pairs,
    sharedAugmentation: encoding.sharedAugmentation,
    augmented: options.augmentation !== null,
    tokenizerHash: tokenizer.hash,
    reports,
  };
}

/** The pair of one row, or why it is left out. */
export function encodePair(row: PreferenceRow, encoding: Encoding): Encoded<EncodedPair> {
  const full = encodeInFull(row, encoding);
  if (isLeftOut(full, encoding.policy)) return 'dropped';
  const pair = fitToPolicy(full, encoding);
  return sameTokens(pair.chosen, pair.rejected) ? 'equalAfterCut' : [pair];
}

/** The examples of a row, at least one, or why it is left out. */
export type Encoded<Example extends EncodedExample> = Example[] | 'dropped' | 'equalAfterCut';

/**
 * Encodes rows one after another, and counts what becomes of them.
 *
 * @throws DataError when no example is left, and for bad rows, all of them, unless they are left out
 */
export function encodeEach<R extends { readonly file: string }, Example extends EncodedExample>(
  rows: readonly R[],
  encode: (row: R) => Encoded<Example>,
  onBadRow: OnBadRow = 'error',
): { readonly pairs: Example[]; readonly reports: EncodeReport[] } {
  const pairs: Example[] = [];
  const counter = new EncodeCounter();
  for (const [done, row] of rows.entries()) {
    if (done % 100 === 0) reportProgress({ phase: 'encoding', done, total: rows.length, unit: 'pairs' });
    const examples = counter.count(row.file, () => encode(row));
    if (Array.isArray(examples)) pairs.push(...examples);
  }
  reportProgress({ phase: 'encoding', done: rows.length, total: rows.length, unit: 'pairs' });
  if (onBadRow === 'error') badRowsIn(counter.reports).throwIfAny();
  if (pairs.length === 0) throw emptyError(counter.reports);
  return { pairs, reports: counter.reports };
}

/** What is the same for all rows. */
export interface Encoding extends EncodeOptions {
  readonly tokenizer: Tokenizer;
  readonly placement: Placement;
  /** [BOS], or nothing: what the augmented view of every row begins with. */
  readonly bos: readonly number[];
  readonly sharedAugmentation: Int32Array;
}

/** The prompt of a row as tokens, before any cut. */
export interface FullPrompt {
  readonly row: { readonly file: string; readonly row: number };
  /** x. */
  readonly prompt: EncodedPrompt;
  /** Tokens of x, BOS included. */
  readonly promptTokens: number;
}

/** A pair as tokens, before any cut. */
export interface FullPair extends FullPrompt {
  readonly row: PreferenceRow;
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

/** Of rows that are encoded without p: because nothing reads it, or to be told what is wrong with them. */
export const encodingWithout = (options: EncodeOptions, tokenizer: Tokenizer): Encoding => ({
  ...{ ...options, augmentation: null, tokenizer },
  ...{ placement: 'prompt', bos: [], sharedAugmentation: new Int32Array() },
});

/**
 * @returns null where p is asked for and none of the prompts can be encoded, so that it is not known what they begin with
 * @throws ConfigError for a p beyond its budget or a placement that the data do not allow
 */
export function prepareEncoding(
  rows: readonly PreferenceRow[],
  tokenizer: Tokenizer,
  options: EncodeOptions,
): Encoding | null {
  const { augmentation } = options;
  if (augmentation === null) return encodingWithout(options, tokenizer);
  const textRow = rows.find(({ prompt }) => prompt.kind === 'text');
  const placement = augmentation.placement ?? (textRow === undefined ? 'last-user-turn' : 'prompt');
  if (placement === 'last-user-turn' && textRow !== undefined) {
    throw placementError(textRow.file);
  }
  const p = encodeAugmentation(tokenizer, augmentation, placement);
  const bos = firstBos(rows, tokenizer);
  if (bos === null) return null;
  const sharedAugmentation = Int32Array.from(placement === 'prompt' ? [...bos, ...p] : []);
  return { ...options, tokenizer, placement, bos, sharedAugmentation };
}

export const placementError = (file: string): ConfigError =>
  new ConfigError(`The placement last-user-turn needs chat data, but ${file} holds plain text.`, {
    field: 'augmentation.placement',
    hint: 'Use "prompt".',
  });

/** What the first prompt that can be encoded begins with; null where none can be. */
function firstBos(rows: readonly PreferenceRow[], tokenizer: Tokenizer): readonly number[] | null {
  for (const row of rows) {
    try {
      return encodePrompt(tokenizer, row.prompt, row).bos;
    } catch (error) {
      // It is said in its turn.
      if (!isBadRow(error)) throw error;
    }
  }
  return null;
}

export function encodeInFull(row: PreferenceRow, { tokenizer }: Encoding): FullPair {
  const full = encodePromptInFull(row, row.prompt, tokenizer);
  const answer = (field: 'chosen' | 'rejected'): number[] =>
    encodeAnswer(row.prompt, full.prompt, row[field], tokenizer, { file: row.file, row: row.row, field });
  return { ...full, row, chosen: answer('chosen'), rejected: answer('rejected') };
}

/** @throws DataError for a prompt without tokens, or whose tools or calls of them the template does not write; as `renderChat` */
export function encodePromptInFull(
  row: FullPrompt['row'],
  content: PromptContent,
  tokenizer: Tokenizer,
): FullPrompt {
  const prompt = encodePrompt(tokenizer, content, row);
  if (content.kind === 'chat') {
    const { messages } = content;
    checkToolsWritten(tokenizer, content, true, prompt.text, row);
    checkCallsWritten(tokenizer, content, true, prompt.text, fieldsOf('prompt', messages), row);
  }
  if (prompt.ids.length === 0) {
    throw new DataError('The prompt has no tokens.', { file: row.file, row: row.row, field: 'prompt' });
  }
  return { row, prompt, promptTokens: prompt.bos.length + prompt.ids.length };
}

/** Tokens of a whole answer, what ends it included. @throws DataError as `chatCompletion` */
export function encodeAnswer(
  content: PromptContent,
  prompt: EncodedPrompt,
  answer: Answer,
  tokenizer: Tokenizer,
  place: { readonly file: string; readonly row: number; readonly field: string },
): number[] {
  if (content.kind === 'chat') {
    const text = chatCompletion(tokenizer, content, prompt.text, answer, place);
    return encodeContinuation(tokenizer, prompt.ids, text);
  }
  const text = withoutEos(textOf(answer), tokenizer);
  return [...encodeContinuation(tokenizer, prompt.ids, text), tokenizer.eosTokenId];
}

/** Whether the policy leaves a row out. @throws DataError where it refuses the row */
export function isLeftOut(full: FullPrompt, policy: TokenPolicy): boolean {
  const fate = promptFate(full, policy);
  if (fate === 'refuse') throw longPromptError(full, policy);
  return fate === 'drop';
}

/** What the policy does with a prompt. */
export function promptFate(
  { promptTokens }: FullPrompt,
  { maxPromptTokens, longPrompt }: TokenPolicy,
): 'fits' | 'cut' | 'drop' | 'refuse' {
  if (promptTokens <= maxPromptTokens) return 'fits';
  if (longPrompt === 'drop') return 'drop';
  return longPrompt === 'error' ? 'refuse' : 'cut';
}

/** Applies the policy to a pair whose prompt fits or is to be cut. */
export function fitToPolicy(full: FullPair, encoding: Encoding): EncodedPair {
  const { prompt, removed, keep, responseLimit } = fitPrompt(full, encoding.policy);
  const chosen = cutResponse(full.chosen, responseLimit);
  const rejected = cutResponse(full.rejected, responseLimit);
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

/** What the policy leaves of a prompt that fits or is to be cut, and how many tokens it leaves to the answer. */
export function fitPrompt(
  { prompt: { bos, ids }, promptTokens }: FullPrompt,
  { maxTokens, maxPromptTokens, longPrompt }: TokenPolicy,
): {
  readonly prompt: Int32Array;
  readonly removed: number;
  readonly keep: KeptSide;
  readonly responseLimit: number;
} {
  const removed = Math.max(0, promptTokens - maxPromptTokens);
  const keep = longPrompt === 'keep-start' ? 'start' : 'end';
  const prompt = Int32Array.from([...bos, ...cutPrompt(ids, removed, keep)]);
  return { prompt, removed, keep, responseLimit: maxTokens - prompt.length };
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
  const text = renderAugmentedChat(tokenizer, row.prompt, promptText, inserted, row);
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
export function withoutEos(text: string, { specialTokens }: Tokenizer): string {
  const eos = specialTokens.eos_token!;
  const trimmed = text.trimEnd();
  return trimmed.endsWith(eos) ? trimmed.slice(0, -eos.length) : text;
}

export const sameTokens = (a: Int32Array, b: Int32Array): boolean =>
  a.length === b.length && a.every((id, index) => id === b[index]);

function longPromptError({ row, promptTokens }: FullPrompt, { maxPromptTokens }: TokenPolicy): DataError {
  return new DataError(`The prompt has ${promptTokens} tokens; the limit is ${maxPromptTokens}.`, {
    file: row.file,
    row: row.row,
    field: 'prompt',
    hint: 'Set tokens.longPrompt to keep-end, keep-start or drop, or raise tokens.maxPromptTokens.',
  });
}
