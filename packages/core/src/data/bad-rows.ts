/** Rows that cannot be used, gathered so that one pass reports them all. */
import { DataError } from '../errors.js';

const REPORTED_IN_FULL = 20;

/** One error as plain data, which another thread can send. */
type PlainError = Pick<DataError, 'problem' | 'details'>;

/** Bad rows as plain data. */
export interface PlainBadRows {
  readonly first: readonly PlainError[];
  readonly more: readonly (readonly [string, number])[];
}

/** Counts bad rows, of one file or several; the first are kept in full. */
export class BadRows {
  readonly #first: DataError[] = [];
  /** Of the others: what is wrong, and how often. */
  readonly #more = new Map<string, number>();

  get count(): number {
    return [...this.#more.values()].reduce((sum, count) => sum + count, this.#first.length);
  }

  add(error: DataError): void {
    if (error instanceof BadRowsError) this.merge(error.rows);
    else if (this.#first.length < REPORTED_IN_FULL) this.#first.push(error);
    else this.#countMore(whatIsWrong(error), 1);
  }

  merge({ first, more }: PlainBadRows): void {
    for (const { problem, details } of first) this.add(new DataError(problem, details));
    for (const [what, count] of more) this.#countMore(what, count);
  }

  toPlain(): PlainBadRows {
    const plain = ({ problem, details: { cause: _, ...details } }: DataError) => ({ problem, details });
    return { first: this.#first.map(plain), more: [...this.#more] };
  }

  /** How many there are of each kind, for reports. */
  reasons(): Record<string, number> {
    const counts: Record<string, number> = {};
    const add = (what: string, count: number): void => {
      counts[badRowReason(what)] = (counts[badRowReason(what)] ?? 0) + count;
    };
    for (const error of this.#first) add(whatIsWrong(error), 1);
    for (const [what, count] of this.#more) add(what, count);
    return counts;
  }

  /** What is wrong with each, without the hints, and counts of those that are not kept in full. */
  lines(): string[] {
    const more = [...this.#more].sort((a, b) => b[1] - a[1]).map(([what, count]) => `${count} ${what}`);
    const others =
      more.length === 0 ? [] : [`and ${this.count - this.#first.length} more: ${more.join(', ')}`];
    return [...this.#first.map(withoutHint), ...others];
  }

  /** @throws DataError: the bad row, where there is one; else one that names them all */
  throwIfAny(): void {
    const count = this.count;
    if (count === 1) throw this.#first[0]!;
    if (count > 1) throw new BadRowsError(this, this.#first);
  }

  #countMore(what: string, count: number): void {
    this.#more.set(what, (this.#more.get(what) ?? 0) + count);
  }
}

/** Several rows that cannot be used. */
class BadRowsError extends DataError {
  readonly rows: PlainBadRows;

  constructor(rows: BadRows, mistakes: readonly DataError[]) {
    const files = new Set(mistakes.map(({ details }) => details.file));
    const [file] = files;
    const lines = rows.lines().map(line => `  ${line}\n`);
    const hints = new Set(mistakes.map(({ details }) => details.hint).filter(hint => hint !== undefined));
    const repair = 'Repair them, or set data.onBadRow to skip: they are then left out and counted.';
    super(`${rows.count} rows cannot be used.\n${lines.join('')}`, {
      ...(files.size === 1 && file !== undefined && { file }),
      hint: [...hints, repair].join(' '),
      mistakes,
    });
    this.rows = rows.toPlain();
  }
}

function withoutHint({ message, details: { hint } }: DataError): string {
  return hint === undefined ? message : message.slice(0, -hint.length - 1);
}

/** Under this name bad rows of a kind are counted with what is left out. */
export const badRowReason = (what: string): string => `bad row, ${what}`;

/** The same for rows with the same fault. */
export function whatIsWrong({ details, problem }: DataError): string {
  if (details.field !== undefined) return `field "${details.field.replace(/\[\d+\]/g, '[]')}"`;
  return problem.replace(/ \(.*/s, '').replace(/[.:].*$/s, '');
}
