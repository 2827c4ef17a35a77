/** A failure as programs read it: under --json, stdout holds one JSON object, the result or `{ "error": ... }`. */
import { isLaunched } from '../launched.js';

export interface ErrorRecord {
  /** ERR_CONFIG, ERR_DATA, ERR_MODEL, ERR_CHECKPOINT, ERR_RUN, ERR_USAGE, or the code of a system error. */
  readonly code: string;
  readonly exitCode: number;
  /** All of it, as a person reads it. */
  readonly message: string;
  readonly file?: string;
  readonly row?: number;
  readonly column?: number;
  readonly field?: string;
  readonly hint?: string;
  /** Where several things are wrong, each of them. */
  readonly mistakes?: readonly ErrorRecord[];
}

/** What an error may carry; SralignError does. */
type Described = Error & {
  code?: unknown;
  exitCode?: unknown;
  details?: Partial<Record<'file' | 'row' | 'column' | 'field' | 'hint' | 'mistakes', unknown>>;
};

/** What the engine puts in front of its messages, for programmers. */
const FUNCTION = /^[\w.]+: /;

/** The same of an error, which may come from a worker and bring its record along. @param withoutSecrets as `errorRecord` */
export const recordOf = (error: Error, withoutSecrets: (text: string) => string): ErrorRecord =>
  'record' in error ? (error.record as ErrorRecord) : errorRecord(error, withoutSecrets);

/** @param withoutSecrets that of @sralign/core, which is loaded late */
export function errorRecord(error: Error, withoutSecrets: (text: string) => string): ErrorRecord {
  const { code, exitCode, details = {}, name, message } = error as Described;
  const texts = Object.entries(details).flatMap(([name, value]) => {
    if (!['file', 'row', 'column', 'field', 'hint'].includes(name) || value === undefined) return [];
    return [[name, typeof value === 'string' ? withoutSecrets(value) : value]];
  });
  const mistakes = details.mistakes as readonly Error[] | undefined;
  return {
    code: typeof code === 'string' ? code : 'ERR_UNEXPECTED',
    exitCode: typeof exitCode === 'number' ? exitCode : 1,
    message: withoutSecrets(name === 'NativeError' ? message.replace(FUNCTION, '') : message),
    ...Object.fromEntries(texts),
    ...(mistakes !== undefined && {
      mistakes: mistakes.map(mistake => errorRecord(mistake, withoutSecrets)),
    }),
  };
}

/** Whether a program reads stdout: then it holds one JSON object. */
export const isForPrograms = (args: readonly string[]): boolean => args.includes('--json');

/** Of several ranks the launcher says it, or else the first. */
export function printForPrograms(record: ErrorRecord, args: readonly string[]): void {
  const { OMPI_COMM_WORLD_RANK, RANK, SLURM_PROCID } = process.env;
  const rank = OMPI_COMM_WORLD_RANK ?? RANK ?? SLURM_PROCID ?? '0';
  if (!isForPrograms(args) || rank !== '0' || isLaunched()) return;
  process.stdout.write(`${JSON.stringify({ error: record })}\n`);
}
