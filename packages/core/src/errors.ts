/**
 * The error every user-facing failure of sralign is: what happened, where, and how to fix it.
 *
 * `exitCode` follows the command line's convention: 2 for bad usage, configuration or input found before work
 * starts, 1 for a failure while running.
 */
export interface ErrorDetails {
  /** File the problem is in. */
  file?: string;
  /** 1-based row (line, record) in `file`. */
  row?: number;
  /** 1-based column in `row`. */
  column?: number;
  /** Field, key or tensor name. */
  field?: string;
  /** What to do about it: one sentence. */
  hint?: string;
  /** Where several things are wrong, each of them. */
  mistakes?: readonly SralignError[];
  cause?: unknown;
}

export class SralignError extends Error {
  readonly code: string;
  readonly exitCode: 1 | 2;
  readonly details: ErrorDetails;
  /** The message without the place and the hint. */
  readonly problem: string;

  constructor(code: string, exitCode: 1 | 2, message: string, details: ErrorDetails = {}) {
    const where = [
      details.file === undefined
        ? ''
        : [details.file, details.row, details.column].filter(part => part !== undefined).join(':'),
      details.field === undefined ? '' : `field "${details.field}"`,
    ].filter(part => part !== '');
    const prefix = where.length === 0 ? '' : `${where.join(', ')}: `;
    const suffix = details.hint === undefined ? '' : ` ${details.hint}`;
    super(`${prefix}${message}${suffix}`, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.exitCode = exitCode;
    this.details = details;
    this.problem = message;
  }
}

/** The configuration (YAML file, `--set`, options of the API) is wrong. Exit code 2. */
export class ConfigError extends SralignError {
  constructor(message: string, details: ErrorDetails = {}) {
    super('ERR_CONFIG', 2, message, details);
  }
}

/** A data file, a row of it or what it tokenises to is wrong. Exit code 2. */
export class DataError extends SralignError {
  constructor(message: string, details: ErrorDetails = {}) {
    super('ERR_DATA', 2, message, details);
  }
}

/** A model folder, weights file or tokenizer is missing, damaged or not supported. Exit code 2. */
export class ModelError extends SralignError {
  constructor(message: string, details: ErrorDetails = {}) {
    super('ERR_MODEL', 2, message, details);
  }
}

/** An output folder or checkpoint cannot be used. Exit code 2. */
export class CheckpointError extends SralignError {
  constructor(message: string, details: ErrorDetails = {}) {
    super('ERR_CHECKPOINT', 2, message, details);
  }
}

/** Training or generation failed while running (NaN loss, out of memory, disk full). Exit code 1. */
export class RunError extends SralignError {
  constructor(message: string, details: ErrorDetails = {}) {
    super('ERR_RUN', 1, message, details);
  }
}

/**
 * A foreign value as an error repeats it: JSON, where it has one, and no longer than `maxCharacters`. Never throws, however
 * deep the value is.
 */
export function shown(value: unknown, maxCharacters = 120): string {
  if (typeof value === 'number') return String(value);
  let text: string;
  try {
    const plain = (_key: string, part: unknown): unknown => (typeof part === 'bigint' ? String(part) : part);
    text = JSON.stringify(value, plain) ?? String(value);
  } catch (error) {
    return error instanceof RangeError
      ? 'a value that is nested too deeply'
      : 'a value that refers to itself';
  }
  return text.length <= maxCharacters ? text : `${text.slice(0, maxCharacters)}…`;
}
