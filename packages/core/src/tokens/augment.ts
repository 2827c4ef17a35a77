/** p (+) x: the quality prompt p in front of the query x. */
import type { ChatMessage, PreferenceRow } from '../data/rows.js';
import { ConfigError, DataError } from '../errors.js';
import { renderChat } from './chat-template.js';
import { encodeWithoutBos, type Tokenizer } from './tokenizer.js';
import type { AroundAugmentation } from './truncate.js';

export interface AugmentationOptions {
  /** p; may be empty. */
  readonly prompt: string;
  /** null: last-user-turn for chats, prompt for text. */
  readonly placement: 'prompt' | 'last-user-turn' | null;
  /** Budget of p. */
  readonly maxTokens: number;
}

/**
 * Token ids of p at the beginning of a sequence, without BOS.
 *
 * @throws ConfigError when p is longer than its budget
 */
export function encodeAugmentation(
  tokenizer: Tokenizer,
  { prompt, maxTokens }: AugmentationOptions,
): number[] {
  const ids = tokenizer.encode(prompt);
  if (ids.length > maxTokens) {
    throw new ConfigError(
      `The prompt has ${ids.length} tokens, its limit is ${maxTokens}, and it is never cut.`,
      {
        field: 'augmentation.prompt',
        hint: 'Shorten it or raise augmentation.maxTokens.',
      },
    );
  }
  return ids;
}

/** A rendered conversation whose last user turn begins with p. */
export interface AugmentedText {
  /** What stands before p. */
  readonly head: string;
  /** What follows p: a space, the user's content, and the opening of the answer. */
  readonly tail: string;
}

/**
 * Renders a conversation with p and a space before the content of its last user turn.
 *
 * @param plain the conversation rendered without p
 * @param augmentation p, not empty
 * @throws DataError when the template does not write p as it is
 */
export function renderAugmentedChat(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  plain: string,
  augmentation: string,
  { file, row }: Pick<PreferenceRow, 'file' | 'row'>,
): AugmentedText {
  const last = messages.findLastIndex(({ role }) => role === 'user');
  const augmentedMessages = messages.map((message, index) =>
    index === last ? { ...message, content: `${augmentation} ${message.content}` } : message,
  );
  const augmented = renderChat(tokenizer, augmentedMessages, true, { file, row });
  let shared = 0;
  while (shared < plain.length && plain[shared] === augmented[shared]) shared++;
  const start = augmented.lastIndexOf(augmentation, shared);
  if (start === -1) {
    throw new DataError('The chat template does not write augmentation.prompt as it is.', {
      file,
      row,
      hint: 'Use augmentation.placement "prompt".',
    });
  }
  return { head: augmented.slice(0, start), tail: augmented.slice(start + augmentation.length) };
}

/**
 * Finds the tokens of an augmented prompt that lie wholly before or wholly behind p. Those in between, p and what
 * merged with it, are protected.
 *
 * @param ids tokens of head, p and tail, without BOS
 */
export function splitAroundAugmentation(
  tokenizer: Tokenizer,
  ids: readonly number[],
  { head, tail }: AugmentedText,
): AroundAugmentation {
  // Tokens that agree with those of the head alone, from the front, spell text of the head only; likewise behind p.
  const headIds = encodeWithoutBos(tokenizer, head);
  const tailIds = tokenizer.encode(tail, { continues: true });
  let headCount = 0;
  while (headCount < headIds.length && headIds[headCount] === ids[headCount]) headCount++;
  let tailCount = 0;
  const tailLimit = Math.min(tailIds.length, ids.length - headCount);
  while (tailCount < tailLimit && tailIds.at(-1 - tailCount) === ids.at(-1 - tailCount)) tailCount++;
  return {
    head: ids.slice(0, headCount),
    protectedTokens: ids.slice(headCount, ids.length - tailCount),
    tail: ids.slice(ids.length - tailCount),
  };
}
