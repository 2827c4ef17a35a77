/**
 * What a chat template writes for an answer: what stands behind the rendered prompt, up to and including the token that
 * ends the turn. Nothing is added to it, and what the template writes behind that token (a newline, often) is left out.
 */
import type { ChatMessage } from '../data/rows.js';
import { DataError, SralignError } from '../errors.js';
import { renderChat } from './chat-template.js';
import type { Tokenizer } from './tokenizer.js';

/** A message that tells where a template writes an answer: digits, which no template changes. */
const PROBE = '7351962840';

/** What a template writes before and behind the content of the last assistant message. */
interface AroundAnswer {
  readonly head: string;
  readonly tail: string;
  /** The part of `tail` that belongs to the answer. */
  readonly end: string;
  /** The token that `end` ends in; null for none. */
  readonly endToken: string | null;
}

interface Place {
  readonly file: string;
  readonly row: number;
}

/**
 * The completion of a chat as text.
 *
 * @param promptText the conversation rendered up to the opening of the answer
 * @param field the answer, named in errors
 * @throws DataError when the template refuses the conversation, or does not write the answer
 */
export function chatCompletion(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  promptText: string,
  content: string,
  { field, ...place }: Place & { readonly field: string },
): string {
  const answered = renderChat(tokenizer, [...messages, { role: 'assistant', content }], false, place);
  let start = startBehindPrompt(answered, promptText);
  let around = usualAround(tokenizer);
  if (start === null || around === null || !answered.slice(start).endsWith(around.tail)) {
    around = probe(tokenizer, messages, place);
    if (around !== null && answered.startsWith(around.head))
      start ??= startBehindOpening(around.head, promptText);
  }
  if (start === null || around === null || !answered.slice(start).endsWith(around.tail)) {
    throw new DataError('The chat template does not write the answer where it can be told from the prompt.', {
      ...place,
      field,
      hint: 'Use another chat template.',
    });
  }
  return answered.slice(start, answered.length - around.tail.length) + around.end;
}

/** The token that ends a turn of the assistant in the template's own words; null where the template writes none. */
export function endOfTurnToken(tokenizer: Tokenizer): { readonly text: string; readonly id: number } | null {
  const last = usualAround(tokenizer)?.endToken;
  if (last == null) return null;
  const ids = tokenizer.encode(last);
  return ids.length === 1 ? { text: last, id: ids[0]! } : null;
}

/**
 * Where the answer starts in `answered`. Some templates open the answer with white space that they leave out once it is
 * there (`<think>\n` becomes `<think></think>`).
 */
function startBehindPrompt(answered: string, promptText: string): number | null {
  if (answered.startsWith(promptText)) return promptText.length;
  const trimmed = promptText.trimEnd();
  return answered.startsWith(trimmed) ? trimmed.length : null;
}

/** The same where the template opens the answer with something (`<think>`) that it leaves out once it is there. */
function startBehindOpening(head: string, promptText: string): number {
  return startBehindPrompt(head, promptText) ?? head.length;
}

const usual = new WeakMap<Tokenizer, AroundAnswer | null>();

/** Around the answer to a short question; null where the template refuses that. */
function usualAround(tokenizer: Tokenizer): AroundAnswer | null {
  let around = usual.get(tokenizer);
  if (around === undefined) {
    try {
      around = probe(tokenizer, [{ role: 'user', content: 'Hi' }]);
    } catch (error) {
      if (!(error instanceof SralignError)) throw error;
      around = null;
    }
    usual.set(tokenizer, around);
  }
  return around;
}

function probe(tokenizer: Tokenizer, messages: readonly ChatMessage[], place?: Place): AroundAnswer | null {
  const rendered = renderChat(tokenizer, [...messages, { role: 'assistant', content: PROBE }], false, place);
  const at = rendered.lastIndexOf(PROBE);
  if (at === -1) return null;
  const tail = rendered.slice(at + PROBE.length);
  return { head: rendered.slice(0, at), tail, ...endOfTurn(tail, tokenizer) };
}

/**
 * The part of `tail` up to and including the token that ends the turn: special tokens that follow each other directly
 * belong together (`<|END_RESPONSE|><|END_OF_TURN_TOKEN|>`), up to the first that ends a generation. All of a tail
 * without special tokens.
 */
function endOfTurn(tail: string, tokenizer: Tokenizer): Pick<AroundAnswer, 'end' | 'endToken'> {
  const { addedTokens, stopTokenIds, specialTokens } = tokenizer;
  const stops = new Set([specialTokens.eos_token, ...stopTokenIds.map(id => addedTokens.get(id))]);
  const texts = [...addedTokens.values(), specialTokens.eos_token!].filter(text => text.trim() !== '');
  // The longest first: one token can begin another.
  texts.sort((a, b) => b.length - a.length);
  let at = 0;
  let last: string | undefined;
  while (at < tail.length) {
    const text = texts.find(candidate => tail.startsWith(candidate, at));
    if (text === undefined && last !== undefined) break;
    at += text?.length ?? 1;
    last = text;
    if (text !== undefined && stops.has(text)) break;
  }
  return { end: tail.slice(0, at), endToken: last ?? null };
}
