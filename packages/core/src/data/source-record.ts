/** What the readers of files give: one record after the other. */
import { DataError } from '../errors.js';

/**
 * One record of a file, with its 1-based line (JSON lines) or index (JSON arrays, Parquet): its value, or what is wrong with
 * it where the records behind it can still be read.
 */
export type SourceRecord =
  | { readonly row: number; readonly value: unknown; readonly error?: never }
  | { readonly row: number; readonly error: DataError; readonly value?: never };

/** The record that `parse` gives, or its DataError. */
export function sourceRecord(row: number, parse: () => unknown): SourceRecord {
  try {
    return { row, value: parse() };
  } catch (error) {
    if (error instanceof DataError) return { row, error };
    throw error;
  }
}
