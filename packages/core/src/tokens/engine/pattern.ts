/**
 * The patterns of a tokenizer.json. A regular expression there is one of Oniguruma, which differs from JavaScript's in
 * what white space, words, digits and repeated quantifiers are; `oniguruma-to-es` translates it.
 */
import { toRegExp } from 'oniguruma-to-es';
import { ModelError } from '../../errors.js';
import type { PatternSpec, SplitBehavior } from './schema.js';

/** A piece of a text, and whether the pattern matches it. */
export interface Found {
  readonly text: string;
  readonly matches: boolean;
}

/** Cuts a text, without a remainder, into what a pattern matches and what stands between. */
type Finder = (text: string) => Found[];

/** White space as Unicode and Rust have it: JavaScript's \s lacks U+0085 and has U+FEFF. */
export const WHITE_SPACE = /\p{White_Space}/u;
/** Characters of words for Rust's \w. */
export const WORD_CHARACTER = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
/** Punctuation of any script, and all that ASCII has beside letters, digits and space. */
export const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/u;

/**
 * @param field where the pattern stands
 * @throws ModelError naming file and field when the expression cannot be translated
 */
export function compilePattern(spec: PatternSpec, file: string, field: string): RegExp {
  if ('String' in spec) return new RegExp(spec.String.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'), 'gu');
  try {
    return toRegExp(spec.Regex, { global: true });
  } catch (cause) {
    throw new ModelError(
      `The regular expression ${spec.Regex} cannot be used (${(cause as Error).message}).`,
      {
        file,
        field,
        hint: 'Write it in another way, or use another tokenizer.',
        cause,
      },
    );
  }
}

/** Finds the matches of an expression with the flag g, as Oniguruma's iterator does. */
export function findRegExp(expression: RegExp): Finder {
  return text => {
    const found: Found[] = [];
    walk(expression, text, 0, (part, matches) => found.push({ text: part, matches }));
    return found;
  };
}

/** @param start behind the last match, or 0 */
function walk(
  expression: RegExp,
  text: string,
  start: number,
  onPart: (part: string, matches: boolean) => void,
): void {
  let done = start;
  expression.lastIndex = start;
  for (let match = expression.exec(text); match !== null; match = expression.exec(text)) {
    const end = match.index + match[0].length;
    if (match[0] === '') expression.lastIndex += stepAt(text, end);
    // An empty match right behind another one does not count.
    if (match[0] === '' && match.index === done && done > 0) continue;
    if (match.index > done) onPart(text.slice(done, match.index), false);
    onPart(match[0], true);
    done = end;
  }
  if (done < text.length) onPart(text.slice(done), false);
}

const stepAt = (text: string, index: number): number => ((text.codePointAt(index) ?? 0) > 0xffff ? 2 : 1);

/**
 * Appends the matches of an expression with the flag g, and what stands between, without empty ones. Those that published
 * models use match everywhere: asking only whether there is a match, and where it ends, takes half the time.
 */
export function isolator(expression: RegExp): (text: string, pieces: string[]) => void {
  // What `oniguruma-to-es` emulates has an `exec` of its own.
  const plain = Object.getPrototypeOf(expression) === RegExp.prototype;
  const here = plain ? new RegExp(expression.source, expression.flags.replace('g', 'y')) : null;
  return (text, pieces) => {
    let start = 0;
    while (here !== null && start < text.length) {
      here.lastIndex = start;
      if (!here.test(text) || here.lastIndex === start) break;
      pieces.push(text.slice(start, here.lastIndex));
      start = here.lastIndex;
    }
    if (start === text.length) return;
    walk(expression, text, start, part => {
      if (part !== '') pieces.push(part);
    });
  };
}

/** Matches every character of a class on its own. */
export const everyOne = (characters: RegExp): RegExp => new RegExp(characters.source, 'gu');

/** The pieces that are left of a text once its matches are removed, kept apart or joined to their neighbours. */
export function splitText(found: readonly Found[], behavior: SplitBehavior, invert = false): string[] {
  const parts = invert ? found.map(({ text, matches }) => ({ text, matches: !matches })) : found;
  switch (behavior) {
    case 'removed':
      return parts.filter(({ matches }) => !matches).map(({ text }) => text);
    case 'isolated':
      return parts.map(({ text }) => text);
    case 'contiguous':
      return joined(parts, (part, before) => part.matches === before.matches);
    case 'mergedwithprevious':
      return joined(parts, (part, before) => part.matches && !before.matches);
    case 'mergedwithnext':
      return joined(parts, (part, before) => before.matches && !part.matches);
  }
}

function joined(parts: readonly Found[], belongs: (part: Found, before: Found) => boolean): string[] {
  const pieces: string[] = [];
  for (const [index, part] of parts.entries()) {
    if (index > 0 && belongs(part, parts[index - 1]!)) pieces.push(pieces.pop()! + part.text);
    else pieces.push(part.text);
  }
  return pieces;
}
