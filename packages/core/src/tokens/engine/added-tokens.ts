/**
 * Tokens that are found in a text as they stand, before the model sees the rest: special tokens and words that were
 * added to a vocabulary.
 */
import type { Normalizer } from './normalizers.js';
import { WORD_CHARACTER } from './pattern.js';

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Only where no character of a word touches it. */
  readonly single_word: boolean;
  /** Takes the white space before it. */
  readonly lstrip: boolean;
  /** Takes the white space behind it. */
  readonly rstrip: boolean;
  /** Sought in the normalised text, in its own normalised form. */
  readonly normalized: boolean;
  readonly special: boolean;
}

/** A part of a text: an added token, or what lies between. */
export interface Section {
  readonly text: string;
  readonly token: AddedToken | null;
}

export type AddedTokenFinder = (text: string) => Section[];

/** Finds `tokens` in texts, of those that begin at one place the longest. @param normalize gives what they look like in these texts */
export function addedTokenFinder(tokens: readonly AddedToken[], normalize: Normalizer): AddedTokenFinder {
  const byContent = new Map<string, AddedToken>();
  for (const token of tokens) byContent.set(normalize(token.content), token);
  if (byContent.size === 0) return text => (text === '' ? [] : [{ text, token: null }]);
  const longestFirst = [...byContent.keys()].sort((a, b) => b.length - a.length);
  const expression = new RegExp(longestFirst.map(escaped).join('|'), 'gu');
  return text => {
    const sections: Section[] = [];
    let done = 0;
    for (const { 0: content, index } of text.matchAll(expression)) {
      const token = byContent.get(content)!;
      const end = index + content.length;
      if (token.single_word && (endsInWord(text.slice(0, index)) || beginsWithWord(text.slice(end))))
        continue;
      const from = token.lstrip ? Math.max(done, index - spaceAtEnd(text.slice(0, index))) : index;
      const to = token.rstrip ? end + spaceAtStart(text.slice(end)) : end;
      // Nothing is left of it where the token before took its white space.
      if (from >= to) continue;
      if (from > done) sections.push({ text: text.slice(done, from), token: null });
      sections.push({ text: text.slice(from, to), token });
      done = to;
    }
    if (done < text.length) sections.push({ text: text.slice(done), token: null });
    return sections;
  };
}

const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');

const beginsWithWord = (text: string): boolean =>
  text !== '' && WORD_CHARACTER.test(String.fromCodePoint(text.codePointAt(0)!));

function endsInWord(text: string): boolean {
  const last = /.$/su.exec(text.slice(-2));
  return last !== null && WORD_CHARACTER.test(last[0]);
}

const spaceAtStart = (text: string): number => /^\p{White_Space}*/u.exec(text)![0].length;

function spaceAtEnd(text: string): number {
  let start = text.length;
  while (start > 0 && /\p{White_Space}/u.test(text[start - 1]!)) start--;
  return text.length - start;
}
