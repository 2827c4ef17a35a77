/** Upper, lower and title case as Python has them, where JavaScript has something else. */
import { UnsupportedConstruct } from './errors.js';

const CASED = /\p{Cased}/u;

/** Characters whose title case is neither their upper case nor its first letter with the rest in lower case. */
const TITLE: Readonly<Record<string, string>> = {
  ŉ: 'ʼN',
  ǰ: 'J̌',
};

/** Title case of one character. */
export function titleCharacter(character: string): string {
  const known = TITLE[character];
  if (known !== undefined) return known;
  if (/[Ǆ-ǌǱ-ǳ]/.test(character))
    return 'ǅǈǋǲ'[['Ǆǅǆ', 'Ǉǈǉ', 'Ǌǋǌ', 'Ǳǲǳ'].findIndex(set => set.includes(character))]!;
  if (/[\u1f80-\u1fff\u0390\u03b0\u1e96-\u1e9a\u10d0-\u10ff]/.test(character)) {
    throw new UnsupportedConstruct(`title case of "${character}"`);
  }
  const [first = '', ...rest] = character.toUpperCase();
  return first + rest.join('').toLowerCase();
}

/** str.capitalize() */
export function capitalize(text: string): string {
  const [first = ''] = text;
  return titleCharacter(first) + text.toLowerCase().slice(first.toLowerCase().length);
}

/** str.title() */
export function title(text: string): string {
  let result = '';
  let insideWord = false;
  for (const character of text) {
    refuseSigma(character, 'title()');
    result += insideWord ? character.toLowerCase() : titleCharacter(character);
    insideWord = CASED.test(character);
  }
  return result;
}

/** str.swapcase() */
export function swapCase(text: string): string {
  return Array.from(text, character => {
    refuseSigma(character, 'swapcase()');
    return /\p{Uppercase}/u.test(character) ? character.toLowerCase() : character.toUpperCase();
  }).join('');
}

/** str.casefold(), of ASCII. */
export function foldCase(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the whole of ASCII
  if (/[^\x00-\x7f]/.test(text)) throw new UnsupportedConstruct('casefold() of text beyond ASCII');
  return text.toLowerCase();
}

export const isLower = (text: string): boolean =>
  /\p{Lowercase}/u.test(text) && !/[\p{Uppercase}\p{Lt}]/u.test(text);

export const isUpper = (text: string): boolean =>
  /\p{Uppercase}/u.test(text) && !/[\p{Lowercase}\p{Lt}]/u.test(text);

export function isTitle(text: string): boolean {
  let insideWord = false;
  let found = false;
  for (const character of text) {
    const upper = /[\p{Uppercase}\p{Lt}]/u.test(character);
    if ((upper && insideWord) || (/\p{Lowercase}/u.test(character) && !insideWord)) return false;
    insideWord = CASED.test(character);
    found ||= insideWord;
  }
  return found;
}

/** Its lower case depends on its neighbours. */
function refuseSigma(character: string, method: string): void {
  if (character === 'Σ') throw new UnsupportedConstruct(`${method} of text with "Σ"`);
}
