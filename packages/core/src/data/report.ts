/** What became of the records of the data files: one account a file, and what is worth a warning. */
import { type Method, unitOf } from '../config/method.js';
import { BadRows, type PlainBadRows } from './bad-rows.js';
import { type DataReport, type EncodeCounts, noEncodeCounts, type ReadReport } from './rows.js';

/** More than this share of records left out, or of pairs cut, is more than a few odd rows. */
const WARN_SHARE = 0.1;

const NO_BAD_ROWS: PlainBadRows = { first: [], more: [] };

/** Joins what reading and encoding counted. @param encoded one entry a file that gave a pair of texts */
export function dataReports(
  purpose: DataReport['purpose'],
  read: readonly ReadReport[],
  encoded: readonly (EncodeCounts & { readonly file: string; readonly bad: PlainBadRows })[],
  method: Method,
): DataReport[] {
  return read.map(report => {
    const { bad, ...counts } = encoded.find(({ file }) => file === report.file) ?? {
      ...noEncodeCounts(),
      bad: NO_BAD_ROWS,
    };
    const badRows = new BadRows();
    badRows.merge(bad);
    const reasons = {
      ...report.skipped,
      ...badRows.reasons(),
      'prompt too long': counts.dropped,
      'answers equal after the cut': counts.equalAfterCut,
    };
    const leftOut = Object.entries(reasons)
      .filter(([, records]) => records > 0)
      .sort((a, b) => b[1] - a[1]);
    const readAs = describeFormat(report);
    return {
      ...report,
      ...counts,
      ...{ purpose, unit: unitOf(method), readAs, leftOut: Object.fromEntries(leftOut) },
      badRows: [...report.badRows, ...badRows.lines()],
    };
  });
}

const sum = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((total, count) => total + count, 0);

/** The share of the records (of those that can give several pairs, of the pairs) that gives no pair, wherever it is lost. */
function shareLeftOut({ used, notDrawn, skipped, pairs }: DataReport): number {
  const drawn = used - notDrawn;
  const read = used / (used + sum(skipped));
  return 1 - read * (drawn === 0 ? 1 : pairs / drawn);
}

/** "hh (chosen, rejected), plain text"; null where there was no record. */
function describeFormat({ format, by, kind }: ReadReport): string | null {
  if (format === null) return null;
  const fields = by.length === 0 ? '' : ` (${by.join(', ')})`;
  return `${format}${fields}${kind === null ? '' : kind === 'chat' ? ', chats' : ', plain text'}`;
}

/** Says where a tenth of the records or more was left out or cut: a run on other data than its user thinks. */
export function dataWarnings(report: DataReport): string[] {
  const { file, purpose, unit, rows, pairs, pairsCut, used, skipped } = report;
  const warnings: string[] = [];
  const leftOut = shareLeftOut(report);
  const whole = used + sum(skipped);
  if (leftOut > WARN_SHARE) {
    const reasons = Object.entries(report.leftOut).map(([reason, records]) => `${reason}: ${records}`);
    // A record can give several pairs.
    const what = whole === rows ? 'records' : unit;
    warnings.push(
      `${file}: ${percent(leftOut, 1)} of the ${whole} ${purpose} ${what} are left out ` +
        `(${reasons.join(', ')}). \`sralign data preview\` shows them; tokens.* sets the limits.`,
    );
  }
  if (report.badRows.length > 0) {
    const lines = report.badRows.map(line => `\n  ${line}`).join('');
    warnings.push(`${file}: ${purpose} rows that do not fit are left out (data.onBadRow: skip):${lines}`);
  }
  if (pairsCut > WARN_SHARE * pairs) {
    warnings.push(
      `${file}: ${percent(pairsCut, pairs)} of the ${pairs} ${purpose} ${unit} are cut ` +
        `(${cutParts(report)}). tokens.maxTokens and tokens.maxPromptTokens set the limits.`,
    );
  }
  return warnings;
}

/** "12 prompts, 300 chosen, 280 rejected"; '' where nothing was cut. */
export function cutParts({ promptsCut, chosenCut, rejectedCut, endsCut }: EncodeCounts): string {
  const parts: [number, string][] = [
    [promptsCut, promptsCut === 1 ? 'prompt' : 'prompts'],
    [chosenCut, 'chosen'],
    [rejectedCut, 'rejected'],
    [endsCut, 'at the end'],
  ];
  return parts
    .filter(([count]) => count > 0)
    .map(([count, what]) => `${count} ${what}`)
    .join(', ');
}

/** "59 %"; a share that is not zero never reads so. */
export function percent(part: number, whole: number): string {
  const share = (100 * part) / whole;
  return `${share > 0 && share < 1 ? '<1' : Math.round(share)} %`;
}
