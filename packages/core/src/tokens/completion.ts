/**
 * What a chat template writes for an answer: what stands behind the rendered prompt, up to and including the token that
 * ends the turn. Nothing is added to it, and what the template writes behind that token (a newline, often) is left out.
 *
 * Where the tokenizer has no special token for the words that end a turn (`<|im_end|>` in a tokenizer of another family), these
 * words end it as text, of several tokens: they are trained like the answer, and a generation ends where they stand.
 */
import type { Answer, ChatMessage, PromptContent } from '../data/rows.js';
import { DataError, SralignError } from '../errors.js';
import { renderChat } from './chat-template.js';
import type { Tokenizer } from './tokenizer.js';
import { checkCallsWritten } from './tool-calls.js';

/** A message that tells where a template writes an answer: digits, which no template changes. */
export const PROBE = '7351962840';

/** What a template writes before and behind the content of the last assistant message. */
export interface AroundAnswer {
  readonly head: string;
  readonly tail: string;
  /** The part of `tail` that belongs to the answer. */
  readonly end: string;
  /** The words that `end` ends in: a special token, or text; null where the template writes nothing but white space. */
  readonly marker: string | null;
}

export interface Place {
  readonly file: string;
  readonly row: number;
}

/**
 * The completion of a chat as text.
 *
 * @param promptText the conversation rendered up to the opening of the answer
 * @param field the answer, named in errors
 * @throws DataError when the template refuses the conversation, or does not write the answer or its tool calls
 */
export function chatCompletion(
  tokenizer: Tokenizer,
  { messages, tools }: Extract<PromptContent, { kind: 'chat' }>,
  promptText: string,
  answer: Answer,
  { field, ...place }: Place & { readonly field: string },
): string {
  const message: ChatMessage = typeof answer === 'string' ? { role: 'assistant', content: answer } : answer;
  const whole = [...messages, message];
  const answered = renderChat(tokenizer, whole, false, place, tools);
  const answerField = new Map([[messages.length, field]]);
  checkCallsWritten(tokenizer, { messages: whole, tools }, false, answered, answerField, place);
  let start = startBehindPrompt(answered, promptText);
  let around = usualAround(tokenizer);
  if (start === null || around === null || !answered.slice(start).endsWith(around.tail)) {
    around = probe(tokenizer, { messages, tools }, place);
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

/** What ends a turn of the assistant in the template's own words. */
export interface EndOfTurn {
  readonly text: string;
  /** One special token, or, where the tokenizer has none for it, those of the text. */
  readonly ids: readonly number[];
}

/** Null where the template writes nothing, or nothing but white space, behind an answer. */
export function endOfTurn(tokenizer: Tokenizer): EndOfTurn | null {
  const text = usualAround(tokenizer)?.marker;
  return text == null ? null : { text, ids: tokenizer.encode(text, { continues: true }) };
}

/** What a user should know of an end of turn that is no token; null where there is nothing to say. */
export function endOfTurnNotice(tokenizer: Tokenizer): string | null {
  const end = endOfTurn(tokenizer);
  if (end === null || end.ids.length === 1) return null;
  return (
    `The chat template ends a turn with ${JSON.stringify(end.text)}, for which the tokenizer has no token of its own: it is text of ` +
    `${end.ids.length} tokens, which the model learns to write; sralign stops a generation there, other programs need it as a stop text.`
  );
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
export function usualAround(tokenizer: Tokenizer): AroundAnswer | null {
  let around = usual.get(tokenizer);
  if (around === undefined) {
    try {
      around = probe(tokenizer, { messages: [{ role: 'user', content: 'Hi' }] });
    } catch (error) {
      if (!(error instanceof SralignError)) throw error;
      around = null;
    }
    usual.set(tokenizer, around);
  }
  return around;
}

function probe(
  tokenizer: Tokenizer,
  { messages, tools }: Omit<Extract<PromptContent, { kind: 'chat' }>, 'kind'>,
  place?: Place,
): AroundAnswer | null {
  const probed: ChatMessage[] = [...messages, { role: 'assistant', content: PROBE }];
  const rendered = renderChat(tokenizer, probed, false, place, tools);
  const at = rendered.lastIndexOf(PROBE);
  if (at === -1) return null;
  const tail = rendered.slice(at + PROBE.length);
  const { end, marker } = endWithin(tail, tokenizer);
  return { head: rendered.slice(0, at), tail, end, marker };
}

/**
 * The part of `tail` up to and including the words that end the turn: special tokens that follow each other directly
 * belong together (`<|END_RESPONSE|><|END_OF_TURN_TOKEN|>`), up to the first that ends a generation; of a tail without special
 * tokens its text without the white space at its end.
 *
 * @returns also the text before the first of those tokens, and whether the last ends a generation
 */
export function endWithin(
  tail: string,
  tokenizer: Tokenizer,
): Pick<AroundAnswer, 'end' | 'marker'> & { readonly lead: string; readonly stops: boolean } {
  const { addedTokens, stopTokenIds, specialTokens } = tokenizer;
  const stops = new Set([specialTokens.eos_token, ...stopTokenIds.map(id => addedTokens.get(id))]);
  const texts = [...addedTokens.values(), specialTokens.eos_token!].filter(text => text.trim() !== '');
  // The longest first: one token can begin another.
  texts.sort((a, b) => b.length - a.length);
  let at = 0;
  let lead = tail;
  let last: string | undefined;
  while (at < tail.length) {
    const text = texts.find(candidate => tail.startsWith(candidate, at));
    if (text === undefined && last !== undefined) break;
    if (text !== undefined && last === undefined) lead = tail.slice(0, at);
    at += text?.length ?? 1;
    last = text;
    if (text !== undefined && stops.has(text)) break;
  }
  if (last !== undefined) return { end: tail.slice(0, at), marker: last, lead, stops: stops.has(last) };
  const words = tail.trimEnd();
  const found = words === '' ? { end: tail, marker: null } : { end: words, marker: words };
  return { ...found, lead, stops: false };
}
