/** What became of rows when they were encoded, file by file. */
import { BadRows, type PlainBadRows } from '../data/bad-rows.js';
import { type EncodeCounts, noEncodeCounts } from '../data/rows.js';
import { DataError } from '../errors.js';
import type { Encoded, EncodedExample } from './encode.js';

/** What became of the rows of one file. */
export interface EncodeReport extends EncodeCounts {
  readonly file: string;
  /** Rows that cannot be encoded: where that is no error, they are left out. */
  bad: PlainBadRows;
}

/** Whether an error is about one row and nothing else. */
export const isBadRow = (error: unknown): error is DataError =>
  error instanceof DataError &&
  error.details.row !== undefined &&
  error.details.field?.startsWith('augmentation.') !== true;

/** Counts what becomes of rows, and adds up what was counted elsewhere. */
export class EncodeCounter {
  readonly #byFile = new Map<string, EncodeReport>();

  /** One a file, in the order in which they came. */
  get reports(): EncodeReport[] {
    return [...this.#byFile.values()];
  }

  /**
   * Counts what `encode` makes of a row, or that the row is bad; then it returns null.
   *
   * @throws what `encode` throws that is not about the row
   */
  count<Example extends EncodedExample>(
    file: string,
    encode: () => Encoded<Example>,
  ): Encoded<Example> | null {
    const report = this.#of(file);
    try {
      const made = encode();
      if (Array.isArray(made)) for (const example of made) countInto(report, example);
      else report[made]++;
      return made;
    } catch (error) {
      if (!isBadRow(error)) throw error;
      report.bad = addBad(report.bad, bad => bad.add(error));
      return null;
    }
  }

  merge(others: readonly EncodeReport[]): void {
    for (const { file, bad, ...counts } of others) {
      const report = this.#of(file);
      report.bad = addBad(report.bad, sum => sum.merge(bad));
      for (const [key, count] of Object.entries(counts)) report[key as keyof EncodeCounts] += count;
    }
  }

  #of(file: string): EncodeReport {
    const report = this.#byFile.get(file) ?? newReport(file);
    this.#byFile.set(file, report);
    return report;
  }
}

function addBad(before: PlainBadRows, add: (rows: BadRows) => void): PlainBadRows {
  const rows = new BadRows();
  rows.merge(before);
  add(rows);
  return rows.toPlain();
}

/** The bad rows of all files. */
export function badRowsIn(reports: readonly EncodeReport[]): BadRows {
  const all = new BadRows();
  for (const { bad } of reports) all.merge(bad);
  return all;
}

const newReport = (file: string): EncodeReport => ({
  file,
  bad: { first: [], more: [] },
  ...noEncodeCounts(),
});

function countInto(report: EncodeReport, { cut }: EncodedExample): void {
  report.pairs++;
  if (cut.promptTokens > 0) report.promptsCut++;
  if ('endTokens' in cut) {
    if (cut.endTokens > 0) report.endsCut++;
  } else {
    if (cut.chosenTokens > 0) report.chosenCut++;
    if (cut.rejectedTokens > 0) report.rejectedCut++;
  }
  if (Object.values(cut).some(tokens => tokens > 0)) report.pairsCut++;
}

export function emptyError(reports: readonly EncodeReport[]): DataError {
  const [first] = reports;
  if (first === undefined) return new DataError('There are no rows to encode.');
  const sum = (key: 'dropped' | 'equalAfterCut'): number =>
    reports.reduce((total, report) => total + report[key], 0);
  const { file } = first;
  const bad = badRowsIn(reports);
  if (bad.count > 0 && reports.every(({ dropped, equalAfterCut }) => dropped + equalAfterCut === 0)) {
    return new DataError(
      `Nothing is left: none of the rows can be used.\n${bad
        .lines()
        .map(line => `  ${line}\n`)
        .join('')}`,
      { file },
    );
  }
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
