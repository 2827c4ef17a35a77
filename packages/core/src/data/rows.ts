/** A preference pair as text, whatever format it came in. */

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** The query x: plain text, or a conversation that a chat template turns into text. */
export type PromptContent =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'chat'; readonly messages: readonly ChatMessage[] };

export interface PreferenceRow {
  readonly file: string;
  /** 1-based: the line of a JSON lines file, else the index of the record. */
  readonly row: number;
  readonly prompt: PromptContent;
  /** y+: for chats the content of the assistant's message. */
  readonly chosen: string;
  /** y-, likewise. */
  readonly rejected: string;
}

/** What became of the records of one file. */
export interface ReadReport {
  readonly file: string;
  /** Records in the file. */
  rows: number;
  /** Records that became pairs. */
  used: number;
  /** Reason: number of records passed over for it. */
  readonly skipped: Record<string, number>;
  /** The first few records passed over. */
  readonly examples: { row: number; reason: string }[];
}
