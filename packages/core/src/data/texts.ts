/** What can be said of texts without a tokenizer. */

/** Whether a word of the answer would stand at a word, or the end of a sentence, of the prompt, without a space between. */
export const touches = (prompt: string, answer: string): boolean =>
  /\S$/.test(prompt) && !/[:([{"'\n]$/.test(prompt.slice(-1)) && /^[\p{L}\p{N}]/u.test(answer);

/** In code units. */
export function commonPrefixLength(a: string, b: string): number {
  const limit = Math.min(a.length, b.length);
  let length = 0;
  while (length < limit && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return length;
}
