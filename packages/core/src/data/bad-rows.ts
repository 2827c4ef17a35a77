/** Rows that cannot be used, gathered so that one pass reports them all. */
import { DataError } from '../errors.js';

const REPORTED_IN_FULL = 20;

/** Counts bad rows, of one file or several; the first are kept in full. */
export class BadRows {
  readonly #first: DataError[] = [];
  /** Of the others: field and number. */
  readonly #more = new Map<string, number>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(error: DataError): void {
    this.#count++;
    if (this.#first.length < REPORTED_IN_FULL) this.#first.push(error);
    else this.#more.set(whatIsWrong(error), (this.#more.get(whatIsWrong(error)) ?? 0) + 1);
  }

  /** The errors in full, one a line, and counts of the others. */
  lines(): string[] {
    const more = [...this.#more].sort((a, b) => b[1] - a[1]).map(([what, count]) => `${count} ${what}`);
    const others =
      more.length === 0 ? [] : [`and ${this.#count - this.#first.length} more: ${more.join(', ')}`];
    return [...this.#first.map(({ message }) => message), ...others];
  }

  /** @throws DataError: the bad row, where there is one; else one that names them all */
  throwIfAny(): void {
    if (this.#count === 0) return;
    const [only] = this.#first;
    if (this.#count === 1) throw only!;
    const files = new Set(this.#first.map(({ details }) => details.file));
    const [file] = files;
    throw new DataError(
      `${this.#count} rows cannot be used.
${this.lines()
  .map(
    line => `  ${line}
`,
  )
  .join('')}`,
      {
        ...(files.size === 1 && file !== undefined && { file }),
        hint: 'Repair them, or set data.onBadRow to skip: they are then left out and counted.',
        mistakes: this.#first,
      },
    );
  }
}

/** The same for rows with the same fault. */
export function whatIsWrong({ details, problem }: DataError): string {
  if (details.field !== undefined) return `field "${details.field.replace(/\[\d+\]/g, '[]')}"`;
  return problem.replace(/ \(.*/s, '').replace(/[.:].*$/s, '');
}
