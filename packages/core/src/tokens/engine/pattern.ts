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
export type Finder = (text: string) => Found[];

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
    let done = 0;
    expression.lastIndex = 0;
    for (let match = expression.exec(text); match !== null; match = expression.exec(text)) {
      const end = match.index + match[0].length;
      if (match[0] === '') expression.lastIndex += stepAt(text, end);
      // An empty match right behind another one does not count.
      if (match[0] === '' && match.index === done && done > 0) continue;
      if (match.index > done) found.push({ text: text.slice(done, match.index), matches: false });
      found.push({ text: match[0], matches: true });
      done = end;
    }
    if (done < text.length) found.push({ text: text.slice(done), matches: false });
    return found;
  };
}

const stepAt = (text: string, index: number): number => ((text.codePointAt(index) ?? 0) > 0xffff ? 2 : 1);

/** Every character of a class is a match of its own. */
export function findCharacters(characters: RegExp): Finder {
  return findRegExp(new RegExp(characters.source, 'gu'));
}

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
