import { parse } from 'yaml';
import { isRecord } from './json.js';

/** The facts at the head of a card (README.md) of the hub; {} where it has none that can be read. */
export function frontMatter(card: string): Record<string, unknown> {
  try {
    const facts: unknown = parse(/^---\r?\n(.*?)\r?\n---/s.exec(card)?.[1] ?? '');
    return isRecord(facts) ? facts : {};
  } catch {
    return {};
  }
}
