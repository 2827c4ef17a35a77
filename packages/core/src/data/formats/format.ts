/** What a data format is: the fields of a record, and the rows they give. */
import type { EqualAnswers, Row } from '../rows.js';

export type Fields = Readonly<Record<string, unknown>>;

/** Where a record stands, for messages. */
export interface Where {
  readonly file: string;
  readonly row: number;
}

type WithoutPlace<R> = R extends Row ? Omit<R, 'file' | 'row'> : never;

/** A row that does not know yet where it is from. */
export type RowContent = WithoutPlace<Row>;

/** The rows of a well-formed record, at least one; or the reason why it holds none. */
export type ParsedRecord = { readonly rows: readonly RowContent[] } | { readonly skipped: string };

/** How records become rows, whatever their format. */
export interface ParseOptions {
  readonly equalAnswers: EqualAnswers;
}

export interface Format {
  /** The fields that it reads, and no others. */
  readonly fields: readonly string[];
  /** @throws DataError with file, row and field when a field is missing or of the wrong kind */
  parse(record: Fields, where: Where, options: ParseOptions): ParsedRecord;
}

/** The rows of a record that holds one pair. */
export const onePair = (content: Omit<Extract<RowContent, { kind: 'pair' }>, 'kind'>): ParsedRecord => ({
  rows: [{ kind: 'pair', ...content }],
});
