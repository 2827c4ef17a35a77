/** metrics.jsonl: one JSON object a line, {step, time, ...metrics}, in the order of the run. */
import { readFile } from 'node:fs/promises';
import { DataError } from '../errors.js';
import { appendToFile, exists, flush, writeFileAtomic } from '../files.js';

/** Metrics by name, with the step they belong to; `time` is in seconds since 1970. */
export type MetricsRecord = { readonly step: number } & Readonly<Record<string, number>>;

export class MetricsJsonl {
  private constructor(
    private readonly file: string,
    /** The metrics of the last record that was there, without its place; null when there was none. */
    readonly last: Readonly<Record<string, number>> | null,
  ) {}

  /**
   * Opens the file of a run.
   *
   * @param resumeStep records after this step are dropped, as the resumed run writes them again; null: a new run
   * @throws DataError when the file is damaged; RunError when the disk refuses
   */
  static async open(file: string, resumeStep: number | null): Promise<MetricsJsonl> {
    const records = resumeStep !== null && (await exists(file, DataError)) ? await readMetrics(file) : [];
    const kept = records.filter(({ step }) => step <= resumeStep!);
    await writeFileAtomic(file, kept.map(toLine).join(''));
    return new MetricsJsonl(file, kept.length === 0 ? null : withoutPlace(kept.at(-1)!));
  }

  /** Appends a record with the current time. */
  write(record: { readonly step: number } & Readonly<Record<string, number>>): void {
    appendToFile(this.file, toLine({ ...record, time: Date.now() / 1000 }));
  }

  /** Makes what was written survive a power cut. */
  flush(): Promise<void> {
    return flush(this.file);
  }
}

/** The metrics alone. */
export function withoutPlace({ step, time, ...metrics }: MetricsRecord): Record<string, number> {
  return metrics;
}

/**
 * Reads a metrics file. A last line that a killed run left unfinished is ignored.
 *
 * @throws DataError when the file is missing or another line is not a record
 */
export async function readMetrics(file: string): Promise<MetricsRecord[]> {
  const text = await readFile(file, 'utf8').catch((cause: Error) => {
    throw new DataError(`The metrics cannot be read (${cause.message}).`, { file, cause });
  });
  return text
    .split('\n')
    .slice(0, -1)
    .map((line, i) => parseRecord(line, file, i + 1));
}

/** JSON has no NaN and no Infinity; they are written as text, so that nothing is lost silently. */
function toLine(record: MetricsRecord): string {
  return `${JSON.stringify(record, (_, value) => (Number.isFinite(value) || typeof value === 'object' ? value : String(value)))}\n`;
}

function parseRecord(line: string, file: string, row: number): MetricsRecord {
  let record: MetricsRecord | null = null;
  try {
    record = JSON.parse(line, (_, value) => (typeof value === 'string' ? Number(value) : value));
  } catch {
    // Falls through to the one error below.
  }
  if (Number.isInteger(record?.step)) return record!;
  throw new DataError('The line is not a JSON object with a step.', {
    file,
    row,
    hint: 'It is damaged: delete this line, whose record is lost, and try again.',
  });
}
