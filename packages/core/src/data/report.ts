/** What became of the records of the data files: one account a file, and what is worth a warning. */
import type { DataReport, EncodeCounts, ReadReport } from './rows.js';

/** More than this share of records left out, or of pairs cut, is more than a few odd rows. */
const WARN_SHARE = 0.1;

/** Joins what reading and encoding counted. @param encoded one entry a file that gave a pair of texts */
export function dataReports(
  purpose: DataReport['purpose'],
  read: readonly ReadReport[],
  encoded: readonly (EncodeCounts & { readonly file: string })[],
): DataReport[] {
  const none: EncodeCounts = {
    pairs: 0,
    dropped: 0,
    equalAfterCut: 0,
    pairsCut: 0,
    promptsCut: 0,
    chosenCut: 0,
    rejectedCut: 0,
  };
  return read.map(report => {
    const counts = encoded.find(({ file }) => file === report.file) ?? none;
    const reasons = {
      ...report.skipped,
      'prompt too long': counts.dropped,
      'answers equal after the cut': counts.equalAfterCut,
    };
    const leftOut = Object.entries(reasons)
      .filter(([, records]) => records > 0)
      .sort((a, b) => b[1] - a[1]);
    return { ...report, ...counts, purpose, leftOut: Object.fromEntries(leftOut) };
  });
}

/** Says where a tenth of the records or more was left out or cut: a run on other data than its user thinks. */
export function dataWarnings(report: DataReport): string[] {
  const { file, purpose, rows, pairs, pairsCut } = report;
  const warnings: string[] = [];
  if (rows - pairs > WARN_SHARE * rows) {
    const reasons = Object.entries(report.leftOut).map(([reason, records]) => `${reason}: ${records}`);
    warnings.push(
      `${file}: ${percent(rows - pairs, rows)} of the ${rows} ${purpose} records are left out ` +
        `(${reasons.join(', ')}). \`sralign data preview\` shows them; tokens.* sets the limits.`,
    );
  }
  if (pairsCut > WARN_SHARE * pairs) {
    warnings.push(
      `${file}: ${percent(pairsCut, pairs)} of the ${pairs} ${purpose} pairs are cut ` +
        `(${cutParts(report)}). tokens.maxTokens and tokens.maxPromptTokens set the limits.`,
    );
  }
  return warnings;
}

/** "12 prompts, 300 chosen, 280 rejected"; '' where nothing was cut. */
export function cutParts({ promptsCut, chosenCut, rejectedCut }: EncodeCounts): string {
  const parts: [number, string][] = [
    [promptsCut, promptsCut === 1 ? 'prompt' : 'prompts'],
    [chosenCut, 'chosen'],
    [rejectedCut, 'rejected'],
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
