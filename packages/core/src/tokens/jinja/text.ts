/** Operations on text that methods and filters share. */
import { spendOnNewItems, spendOnNewText, spendOnText } from './budget.js';
import { WHITE_SPACE } from './lexer.js';
import { hasPairs, textLength } from './values.js';

export const SPACE_CHARACTER = new RegExp(`[${WHITE_SPACE}]`);
// biome-ignore lint/suspicious/noControlCharactersInRegex: Python ends lines at some of them
const LINE_END = /\r\n|[\n-\r\x1c-\x1e\x85\u2028\u2029]/g;

/** The characters to strip; white space without an argument. */
export function strip(text: string, characters: string | null, sides: 'both' | 'left' | 'right'): string {
  spendOnText(text.length);
  const set = characters === null ? null : new Set(characters);
  const strips = (character: string): boolean =>
    set === null ? SPACE_CHARACTER.test(character) : set.has(character);
  const items: string | string[] = hasPairs(text) ? Array.from(text) : text;
  let start = 0;
  let end = items.length;
  if (sides !== 'right') while (start < end && strips(items[start]!)) start++;
  if (sides !== 'left') while (end > start && strips(items[end - 1]!)) end--;
  return typeof items === 'string' ? items.slice(start, end) : items.slice(start, end).join('');
}

/** str.splitlines() */
export function splitLines(text: string, keepEnds = false): string[] {
  spendOnText(text.length);
  const lines: string[] = [];
  let start = 0;
  for (const { 0: end, index } of text.matchAll(LINE_END)) {
    lines.push(text.slice(start, keepEnds ? index + end.length : index));
    start = index + end.length;
  }
  if (start < text.length) lines.push(text.slice(start));
  spendOnNewItems(lines.length);
  return lines;
}

/** str.replace(); an empty `old` stands between all characters. */
export function replaceText(text: string, old: string, replacement: string, count: number): string {
  spendOnText(text.length);
  const pieces = old === '' ? ['', ...text, ''] : text.split(old);
  const found = pieces.length - 1;
  const times = count < 0 ? found : Math.min(count, found);
  spendOnNewText(text.length + times * replacement.length);
  if (times === found) return pieces.join(replacement);
  const rest = pieces.slice(times).join(old);
  return times === 0 ? rest : [...pieces.slice(0, times), rest].join(replacement);
}

/** Fills a text up to `width` characters; `side` is where the text goes. */
export function padText(
  text: string,
  width: number,
  fill: string,
  side: 'left' | 'right' | 'center',
): string {
  const missing = width - textLength(text);
  if (missing <= 0) return text;
  spendOnNewText(width);
  const before =
    side === 'left' ? 0 : side === 'right' ? missing : Math.floor(missing / 2) + (missing & width & 1);
  return fill.repeat(before) + text + fill.repeat(missing - before);
}

export function joinTexts(separator: string, items: readonly string[]): string {
  spendOnNewText(items.reduce((sum, item) => sum + item.length + separator.length, 0));
  return items.join(separator);
}
