/** What a data format is: the fields of a record, and the rows they give. */
import type { Row } from '../rows.js';

export type Fields = Readonly<Record<string, unknown>>;

/** Where a record stands, for messages. */
export interface Where {
  readonly file: string;
  readonly row: number;
}

type WithoutPlace<R> = R extends Row ? Omit<R, 'file' | 'row'> : never;

/** A row that does not know yet where it is from. */
export type RowContent = WithoutPlace<Row>;
export type PairContent = Extract<RowContent, { kind: 'pair' }>;

/**
 * The rows of a well-formed record, with a reason for each pair of its answers that is none (there may be no other); or the
 * reason why it holds none.
 */
export type ParsedRecord = (
  | { readonly rows: readonly RowContent[]; readonly refused?: readonly string[] }
  | { readonly skipped: string }
) & { readonly label?: Label | null };

/** What a record says of two answers: 0 that they are as good, 1 that the first is better, 2 that the second is. */
export interface Label {
  readonly field: string;
  readonly value: 0 | 1 | 2;
}

/** How the records of a file become rows, whatever their format. */
export interface ParseOptions {
  /** Whether texts are the turns of a chat. */
  readonly chat: boolean;
  /** Which pairs a list of answers gives. */
  readonly pairs: 'best-worst' | 'all';
  /** The least difference between the scores of a pair; 0 for pairs without scores too. */
  readonly minScoreGap: number;
}

export type Alternatives = readonly (readonly string[])[];

export interface Format {
  /** The fields that a record must have, in the words of a message: "prompt, chosen, rejected (texts)". */
  readonly needs: string;
  /** The fields that it may read, and no others. */
  readonly fields: readonly string[];
  /** Fields of which it reads one or the other, in the order in which it prefers them; each may be several that belong together. */
  readonly alternatives?: readonly Alternatives[];
  /** Pairs of answers, or single answers, from which only supervised training learns. */
  readonly gives: 'pairs' | 'answers';
  /** The fields by which a record is known to be of this format; null where it is not. */
  recognise(record: Fields): readonly string[] | null;
  /** @throws DataError with file, row and field when a field is missing or of the wrong kind */
  parse(record: Fields, where: Where, options: ParseOptions): ParsedRecord;
}

/** The rows of a record that holds one pair. */
export const onePair = (content: Omit<PairContent, 'kind'>): ParsedRecord => ({
  rows: [{ kind: 'pair', ...content }],
});

export const TIE = 'tie';
export const SMALL_GAP = 'the scores differ by less than data.minScoreGap';
