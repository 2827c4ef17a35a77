/** What a run learns from, as text, whatever format it came in. */
import type { unitOf } from '../config/method.js';
import type { FormatName } from './formats/index.js';

/** A message as the chat template gets it, with whatever else it reads of messages (`name`, `tool_call_id`, thoughts). */
export interface ChatMessage {
  readonly role: 'system' | 'developer' | 'user' | 'assistant' | 'tool' | 'function';
  /** null: an assistant that only calls tools. */
  readonly content: string | null;
  /** What the assistant calls, as JSON. */
  readonly tool_calls?: readonly unknown[];
  readonly [field: string]: unknown;
}

/** The query x: plain text, or a conversation that a chat template turns into text. */
export type PromptContent =
  | { readonly kind: 'text'; readonly text: string }
  | {
      readonly kind: 'chat';
      readonly messages: readonly ChatMessage[];
      /** The tools that the assistant may call, as JSON; left out where there are none. */
      readonly tools?: readonly unknown[] | null | undefined;
    };

/** An answer: its text, for chats the content of the assistant's message; or that message, where it calls tools. */
export type Answer = string | ChatMessage;

/** The text of an answer; '' where it only calls tools. */
export const textOf = (answer: Answer): string =>
  typeof answer === 'string' ? answer : (answer.content ?? '');

/** Two answers to one prompt. */
export interface PreferenceRow {
  readonly kind: 'pair';
  readonly file: string;
  /** 1-based: the line of a JSON lines file, else the index of the record. */
  readonly row: number;
  readonly prompt: PromptContent;
  /** y+. */
  readonly chosen: Answer;
  /** y-. */
  readonly rejected: Answer;
}

interface SftRowPlace {
  readonly file: string;
  /** As in PreferenceRow. */
  readonly row: number;
}

/** An answer to a prompt. */
export interface CompletionRow extends SftRowPlace {
  readonly kind: 'completion';
  readonly prompt: PromptContent;
  readonly completion: Answer;
}

/** A conversation with answers of the assistant, at least one of them from `firstTrained` on. */
export interface ConversationRow extends SftRowPlace {
  readonly kind: 'conversation';
  readonly messages: readonly ChatMessage[];
  /** The tools that the assistant may call, as JSON; null for none. */
  readonly tools: readonly unknown[] | null;
  /** Index of the first message that may be trained on. */
  readonly firstTrained: number;
}

/** A text that is learnt as a whole; not empty. */
export interface TextRow extends SftRowPlace {
  readonly kind: 'text';
  readonly text: string;
}

/** What only SFT learns from. It learns from preference data, too: from the chosen answers. */
export type SftRow = CompletionRow | ConversationRow | TextRow;

/** What one record gives, or one of the things that it gives. */
export type Row = PreferenceRow | SftRow;

/** Whether a row is a plain text, or a chat that a template renders. */
export function kindOf(row: Row): PromptContent['kind'] {
  if (row.kind === 'text') return 'text';
  return row.kind === 'conversation' ? 'chat' : row.prompt.kind;
}

/** What became of the records of one file when they were read. */
export interface ReadReport {
  readonly file: string;
  /** The name of its source; null without. */
  readonly source: string | null;
  /** The format that was recognised or given; null where there was no record. */
  format: FormatName | null;
  /** The fields by which it was recognised; empty where the first records do not have those of the format that was given. */
  by: readonly string[];
  /** Of the first row. */
  kind: PromptContent['kind'] | null;
  /** Records read. */
  rows: number;
  /** Rows that the records gave: a record can give several. */
  used: number;
  /** Rows that the sample of data.limit passed over. */
  notDrawn: number;
  /** Whether reading ended here because all the pairs asked for were there; what follows is not read. */
  stoppedEarly: boolean;
  /** Reason: number of records passed over for it; of ranked answers, of their pairs. */
  readonly skipped: Record<string, number>;
  /** What is wrong with the rows that do not fit and are left out (data.onBadRow: skip): the first in full, then counts. */
  badRows: readonly string[];
  /** The first few records passed over. */
  readonly examples: { row: number; reason: string }[];
}

/** What became of the rows of one file when they were turned into tokens. */
export interface EncodeCounts {
  /** Pairs that are used; for SFT sequences. */
  pairs: number;
  /** Pairs left out because of a long prompt. */
  dropped: number;
  /** Pairs left out because their answers are the same tokens, as a rule because they differ only behind the cut. */
  equalAfterCut: number;
  /** Used pairs of which anything was cut. */
  pairsCut: number;
  /** Of the used pairs. */
  promptsCut: number;
  chosenCut: number;
  rejectedCut: number;
  /** Sequences of SFT that do not end where their text does. */
  endsCut: number;
}

export const noEncodeCounts = (): EncodeCounts => ({
  pairs: 0,
  dropped: 0,
  equalAfterCut: 0,
  pairsCut: 0,
  promptsCut: 0,
  chosenCut: 0,
  rejectedCut: 0,
  endsCut: 0,
});

/** What became of the records of one file, up to the pairs of a run. */
export interface DataReport extends ReadReport, EncodeCounts {
  readonly purpose: 'training' | 'evaluation';
  /** What `pairs` counts: pairs of answers, or the examples of SFT. */
  readonly unit: ReturnType<typeof unitOf>;
  /** As what the records were read, by which fields, as texts or chats; null where there was no record. */
  readonly readAs: string | null;
  /**
   * Reason: number of records that gave no pair, from the most frequent; rows = pairs + these, but where a record can give
   * several pairs.
   */
  readonly leftOut: Readonly<Record<string, number>>;
}
