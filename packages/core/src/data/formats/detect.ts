/** Which format the records of a file have. */
import type { Method } from '../../config/method.js';
import { ConfigError, DataError, shown } from '../../errors.js';
import { type Columns, namedFields, recognisedBy } from './columns.js';
import { has, isObject, isText } from './fields.js';
import type { Fields, Format } from './format.js';
import { FORMAT_NAMES, FORMATS, type FormatName } from './index.js';
import { holdsMessages } from './messages.js';

/** What was seen in the first records of a file. */
export interface Recognition {
  readonly name: FormatName;
  readonly format: Format;
  /** The fields by which the format was recognised, or that it was given to read. */
  readonly by: readonly string[];
}

/** The format of this name. @throws ConfigError for a name that is none */
export function formatNamed(name: string): Format {
  if (Object.hasOwn(FORMATS, name)) return FORMATS[name as FormatName];
  throw new ConfigError(`Expected one of auto, ${FORMAT_NAMES.join(', ')}, found ${shown(name)}.`, {
    field: 'data.format',
  });
}

/**
 * The format that most of the records have, of those that read all that data.columns names, the first in order of those that as many have.
 *
 * @throws DataError when no record has any, with what they have beside what each format needs
 */
export function recognise(
  records: readonly Fields[],
  columns: Columns,
  file: string,
  method: Method,
): Recognition {
  const candidates = FORMAT_NAMES.map(name => {
    const format = FORMATS[name];
    const seen = records.map(record => recognisedBy(record, format, columns)).filter(by => by !== null);
    return { name, format, by: seen[0] ?? [], count: seen.length };
  });
  const best = candidates.reduce((most, other) => (other.count > most.count ? other : most));
  if (best.count === 0) throw unknownFormat(records, columns, file, method);
  return best;
}

/**
 * @throws ConfigError when the method learns from pairs and the format gives none
 */
export function checkGives({ name, format, by }: Recognition, file: string, method: Method): void {
  if (format.gives === 'pairs' || method === 'sft') return;
  const judged = by.some(field => field === 'label' || field === 'kto_tag');
  const what = judged ? 'single answers, each marked as good or bad (KTO)' : 'single answers';
  throw new ConfigError(
    `${method} learns from pairs of answers, and these records (${name}: ${by.join(', ')}) hold ${what}.`,
    {
      file,
      field: 'method',
      hint: 'Use method: sft, or data with a chosen and a rejected answer to each prompt.',
    },
  );
}

function unknownFormat(
  records: readonly Fields[],
  columns: Columns,
  file: string,
  method: Method,
): DataError {
  const named = new Set(records.flatMap(record => namedFields(record, columns)));
  const names = FORMAT_NAMES.filter(name => FORMATS[name].gives === 'pairs' || method === 'sft');
  const width = Math.max(...names.map(name => name.length));
  const lines = [
    'data.format: auto does not recognise these records.',
    `Found: ${fieldsFound(records)}.`,
    ...(named.size === 0
      ? []
      : [`A format must read all that data.columns names: ${[...named].join(', ')}.`]),
    'Each format needs:',
    ...names.map(name => `  ${name.padEnd(width)}  ${FORMATS[name].needs}`),
  ];
  return new DataError(`${lines.join('\n')}\n`, {
    file,
    hint: 'Say in data.columns which column is which, such as {prompt: question, chosen: answer_a}, or set data.format.',
  });
}

/** "question (text), votes (number)". */
function fieldsFound(records: readonly Fields[]): string {
  const found = new Map<string, string>();
  for (const record of records)
    for (const name of Object.keys(record))
      if (!found.has(name) && has(record, name)) found.set(name, kindOf(record[name]));
  return found.size === 0 ? 'no field' : [...found].map(([name, kind]) => `${name} (${kind})`).join(', ');
}

function kindOf(value: unknown): string {
  if (isText(value)) return 'text';
  if (holdsMessages(value)) return Array.isArray(value) ? 'messages' : 'message';
  if (Array.isArray(value)) return value.length === 0 ? 'empty list' : `list of ${kindOf(value[0])}`;
  if (isObject(value)) return `{${Object.keys(value).join(', ')}}`;
  return typeof value === 'bigint' ? 'number' : typeof value;
}
