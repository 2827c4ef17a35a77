/** What can be wrong with the records of a source as a whole, though each of them fits. */
import { DataError } from '../errors.js';
import { type Columns, DISPENSABLE, inColumns, isColumnOf } from './formats/columns.js';
import type { Fields, Label, Where } from './formats/format.js';

export class SourceChecks {
  /** Columns of data.columns that no record had yet. */
  readonly #missing: Map<string, string>;
  readonly #labels = new Set<Label['value']>();
  #firstFile: string | null = null;
  #firstZero: (Where & { readonly field: string }) | null = null;

  constructor(readonly columns: Columns) {
    this.#missing = new Map(Object.entries(columns).filter(([field]) => DISPENSABLE.includes(field)));
  }

  addRecord(record: Fields, { file }: Where): void {
    this.#firstFile ??= file;
    for (const [field, column] of this.#missing) if (isColumnOf(record, column)) this.#missing.delete(field);
  }

  addLabel({ field, value }: Label, where: Where): void {
    this.#labels.add(value);
    if (value === 0) this.#firstZero ??= { ...where, field };
  }

  /**
   * @param complete whether all records of the source were read
   * @throws DataError for labels that seem to count from 0, and for a column of data.columns that no record has
   */
  throwIfWrong(complete: boolean): void {
    if (this.#firstZero !== null && this.#labels.has(1) && !this.#labels.has(2)) {
      const error = new DataError(
        'The labels are 0 and 1, never 2, and seem to count the answers from 0. 0 is a tie, 1 the first, 2 the second.',
        {
          ...this.#firstZero,
          hint: 'Where 0 is the first answer, name the answers answer_0 and answer_1 in data.columns; where 0 is a tie, write "tie".',
        },
      );
      throw inColumns(error, this.columns);
    }
    const [missing] = this.#missing;
    if (!complete || missing === undefined || this.#firstFile === null) return;
    const [field, column] = missing;
    throw new DataError(`No record has the column "${column}", from which data.columns reads ${field}.`, {
      file: this.#firstFile,
      field: column,
      hint: 'Correct data.columns, or remove it there.',
    });
  }
}
