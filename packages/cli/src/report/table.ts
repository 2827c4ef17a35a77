/** Tables and numbers as the command prints them. */
import type { ShareInterval } from '@sralign/core';
import Table from 'cli-table3';

const PLAIN = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '' };
const EDGES = { 'bottom-left': '', 'bottom-right': '', left: '', right: '', middle: '  ' };
const RULE = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };

/** A table without borders: the first column to the left, the others to the right. Ends without a newline. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const result = new Table({
    head: [...head],
    colAligns: head.map((_, column) => (column === 0 ? 'left' : 'right')),
    chars: { ...PLAIN, ...EDGES, ...RULE },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  result.push(...rows.map(row => [...row]));
  return result
    .toString()
    .split('\n')
    .map(line => line.trimEnd())
    .join('\n');
}

/** Label and value per line, values aligned. */
export function listing(entries: readonly (readonly [label: string, value: string])[]): string {
  const width = Math.max(...entries.map(([label]) => label.length));
  return entries.map(([label, value]) => `${label.padEnd(width)}  ${value}`).join('\n');
}

/** A metric: four significant digits, exponent only where needed; integers whole. */
export function number(value: number | undefined): string {
  if (value === undefined) return '-';
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value)) return value.toLocaleString('en-US');
  const size = Math.abs(value);
  if (size < 1e-3) return value.toExponential(2);
  return size < 1000 ? value.toPrecision(4) : Math.round(value).toLocaleString('en-US');
}

/** What stands behind an accuracy: " (n 10, 95 %: 0.490-0.943)"; nothing without an interval. */
export function besideShare(interval: ShareInterval | undefined): string {
  if (interval === undefined) return '';
  const { pairs, level, low, high } = interval;
  return ` (n ${number(pairs)}, ${100 * level} %: ${low.toFixed(3)}-${high.toFixed(3)})`;
}

/** 75 -> "1m15s", 4000 -> "1h06m", 3.21 -> "3.2s". */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)}s`;
  const whole = Math.round(seconds);
  const two = (value: number): string => String(value).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}m`;
}

/** 1536 -> "1.5 KiB". */
export function byteSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${units[power]}`;
}
