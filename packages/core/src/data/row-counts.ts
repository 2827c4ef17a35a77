/** What is odd about the answers of a file, counted row by row. */
import { rowTexts } from './row-texts.js';
import { kindOf, type Row } from './rows.js';

/** Rows of one file; plain numbers, which a worker hands over and a file keeps. */
export interface RowCounts {
  readonly file: string;
  rows: number;
  /** Rows that a chat template renders. */
  chats: number;
  /** Answers without any text. */
  emptyChosen: number;
  emptyRejected: number;
  /** Answers that begin by repeating the prompt. */
  repeatedChosen: number;
  repeatedRejected: number;
}

/** Counts rows, and adds up what was counted elsewhere. */
export class RowCounter {
  readonly #byFile = new Map<string, RowCounts>();

  /** One a file, in the order in which they came. */
  get counts(): RowCounts[] {
    return [...this.#byFile.values()];
  }

  add(row: Row): void {
    const counts = this.#of(row.file);
    const { question, chosen, rejected } = rowTexts(row);
    const repeats = (answer: string): boolean => question !== '' && answer.trimStart().startsWith(question);
    counts.rows++;
    if (kindOf(row) === 'chat') counts.chats++;
    if (chosen.some(isEmpty)) counts.emptyChosen++;
    if (rejected.some(isEmpty)) counts.emptyRejected++;
    if (chosen.some(repeats)) counts.repeatedChosen++;
    if (rejected.some(repeats)) counts.repeatedRejected++;
  }

  merge(others: readonly RowCounts[]): void {
    for (const other of others) {
      const counts = this.#of(other.file);
      for (const key of COUNTED) counts[key] += other[key];
    }
  }

  #of(file: string): RowCounts {
    let counts = this.#byFile.get(file);
    if (counts === undefined) {
      counts = {
        file,
        rows: 0,
        chats: 0,
        emptyChosen: 0,
        emptyRejected: 0,
        repeatedChosen: 0,
        repeatedRejected: 0,
      };
      this.#byFile.set(file, counts);
    }
    return counts;
  }
}

const COUNTED = [
  'rows',
  'chats',
  'emptyChosen',
  'emptyRejected',
  'repeatedChosen',
  'repeatedRejected',
] as const;

const isEmpty = (answer: string): boolean => answer.trim() === '';
