/** HTML escaping, for |escape and what is added to its result. */
import { spendOnNewText } from './budget.js';
import { textOf } from './printing.js';
import { Markup, type Value } from './values.js';

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&#39;',
  '"': '&#34;',
};

/** The escaped text of a value; that of Markup is escaped already. */
export function escapeHtml(value: Value): string {
  if (value instanceof Markup) return value.text;
  const text = textOf(value).replace(/[&<>'"]/g, character => ESCAPES[character]!);
  spendOnNewText(text.length);
  return text;
}
