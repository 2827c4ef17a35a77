/** What became of the records of a data file, in a line. */
import type { DataReport } from '@sralign/core';
import { number } from './table.js';

/**
 * "pairs.jsonl, training: 2,023 records, 830 pairs, 1,193 left out (prompt too long: 1,190, no shared prompt: 3); cut: 12
 * prompts, 300 chosen, 280 rejected; read as hh (chosen, rejected), plain text".
 */
export function dataSummary(report: DataReport): string {
  const { file, source, purpose, unit, rows, stoppedEarly, pairs, notDrawn } = report;
  const reasons = Object.entries(report.leftOut).map(([reason, count]) => `${reason}: ${number(count)}`);
  const sum = Object.values(report.leftOut).reduce((total, count) => total + count, 0);
  const leftOut = reasons.length === 0 ? '' : `, ${number(sum)} left out (${reasons.join(', ')})`;
  const cut = [
    ['prompts', report.promptsCut],
    ['chosen', report.chosenCut],
    ['rejected', report.rejectedCut],
    ['at the end', report.endsCut],
  ] as const;
  const parts = cut.filter(([, count]) => count > 0).map(([what, count]) => `${number(count)} ${what}`);
  const cuts = parts.length === 0 ? '' : `; cut: ${parts.join(', ')}`;
  const records = `${stoppedEarly ? 'the first ' : ''}${number(rows)} records`;
  const as = report.readAs === null ? '' : `; read as ${report.readAs}`;
  const name = source === null ? file : `${file} (${source})`;
  const rest = notDrawn === 0 ? '' : `, ${number(notDrawn)} not drawn`;
  return `${name}, ${purpose}: ${records}, ${number(pairs)} ${unit}${rest}${leftOut}${cuts}${as}`;
}
