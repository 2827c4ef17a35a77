/**
 * A prompt and what follows it as token ids: the rules of BOS, and of the border between two texts. Training and
 * generation share them.
 */
import type { PromptContent } from '../data/rows.js';
import { renderChat } from './chat-template.js';
import type { Tokenizer } from './tokenizer.js';

/** A prompt as tokens. */
export interface EncodedPrompt {
  /** The text; of a chat, rendered up to the opening of the answer. */
  readonly text: string;
  /** [BOS], or nothing: a text has it if the tokenizer adds one itself, a chat if its template writes it. */
  readonly bos: readonly number[];
  /** What follows. */
  readonly ids: readonly number[];
}

/**
 * @param where named in errors
 * @throws as `renderChat`
 */
export function encodePrompt(
  tokenizer: Tokenizer,
  prompt: PromptContent,
  where: { readonly file?: string; readonly row?: number } = {},
): EncodedPrompt {
  if (prompt.kind === 'text') {
    const { bosTokenId } = tokenizer;
    const { ids } = splitBos(tokenizer.encode(prompt.text), bosTokenId);
    return { text: prompt.text, bos: bosTokenId === null ? [] : [bosTokenId], ids };
  }
  const text = renderChat(tokenizer, prompt.messages, true, where, prompt.tools);
  return { text, ...encodeRendered(tokenizer, text) };
}

/** A rendered chat as tokens, with BOS only where it stands in the text. */
export function encodeRendered(tokenizer: Tokenizer, text: string): Omit<EncodedPrompt, 'text'> {
  return splitBos(tokenizer.encode(text), bosOf(tokenizer));
}

/**
 * Token ids of a text that goes on from earlier tokens. Behind a special token a tokenizer may put a space in front of a
 * text, as at the beginning of a sequence; then this does, too.
 */
export function encodeContinuation(tokenizer: Tokenizer, earlier: readonly number[], text: string): number[] {
  const last = earlier.at(-1);
  const added = last === undefined ? undefined : tokenizer.addedTokens.get(last);
  if (added !== undefined) {
    const ids = tokenizer.encode(added + text);
    if (ids[0] === last) return ids.slice(1);
  }
  return tokenizer.encode(text, { continues: true });
}

function splitBos(ids: readonly number[], bos: number | null): Omit<EncodedPrompt, 'text'> {
  return ids[0] === bos ? { bos: ids.slice(0, 1), ids: ids.slice(1) } : { bos: [], ids };
}

/** The id of BOS, whether or not the tokenizer adds it itself. */
export function bosOf({ specialTokens, addedTokens, bosTokenId }: Tokenizer): number | null {
  if (bosTokenId !== null) return bosTokenId;
  const named = [...addedTokens].find(([, text]) => text === specialTokens.bos_token);
  return named?.[0] ?? null;
}
