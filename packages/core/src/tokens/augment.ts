/** p (+) x: the quality prompt p in front of the query x. */
import type { PreferenceRow, PromptContent } from '../data/rows.js';
import { commonPrefixLength } from '../data/texts.js';
import { ConfigError, DataError } from '../errors.js';
import { renderChat } from './chat-template.js';
import { encodeRendered } from './sequence.js';
import type { Tokenizer } from './tokenizer.js';
import type { AroundAugmentation } from './truncate.js';

export type Placement = 'prompt' | 'last-user-turn';

export interface AugmentationOptions {
  /** p; may be empty. */
  readonly prompt: string;
  /** null: last-user-turn for chats, prompt for text. */
  readonly placement: Placement | null;
  /** Text between p and what follows it; null or left out: none before a whole prompt, a space in the last user turn. */
  readonly separator?: string | null;
  /** Budget of p. */
  readonly maxTokens: number;
}

/** p and its separator: what is put in front, as it is. Nothing for an empty p. */
export function augmentationText({ prompt, separator }: AugmentationOptions, placement: Placement): string {
  return prompt === '' ? '' : prompt + (separator ?? (placement === 'prompt' ? '' : ' '));
}

/**
 * Token ids of p and its separator at the beginning of a sequence, without BOS. Before the user's words, white space at
 * the end becomes part of them.
 *
 * @throws ConfigError when p is longer than its budget
 */
export function encodeAugmentation(
  tokenizer: Tokenizer,
  options: AugmentationOptions,
  placement: Placement,
): number[] {
  const { maxTokens } = options;
  const text = augmentationText(options, placement);
  const ids = tokenizer.encode(placement === 'prompt' ? text : text.trimEnd());
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
  /** p and its separator, without white space at the end, which belongs to the words behind it. */
  readonly augmentation: string;
  /** What follows: the user's content, and the opening of the answer. */
  readonly tail: string;
}

/**
 * Renders a conversation with p and its separator before the content of its last user turn.
 *
 * @param plain the conversation rendered without p
 * @param inserted p and its separator, not empty
 * @throws DataError when the template does not write p as it is
 */
export function renderAugmentedChat(
  tokenizer: Tokenizer,
  { messages, tools }: Extract<PromptContent, { kind: 'chat' }>,
  plain: string,
  inserted: string,
  { file, row }: Pick<PreferenceRow, 'file' | 'row'>,
): AugmentedText {
  const last = messages.findLastIndex(({ role }) => role === 'user');
  const augmentedMessages = messages.map((message, index) =>
    index === last ? { ...message, content: inserted + (message.content ?? '') } : message,
  );
  const augmented = renderChat(tokenizer, augmentedMessages, true, { file, row }, tools);
  const augmentation = inserted.trimEnd();
  const shared = commonPrefixLength(plain, augmented);
  const start = augmented.lastIndexOf(augmentation, shared);
  if (start === -1) {
    throw new DataError('The chat template does not write augmentation.prompt as it is.', {
      file,
      row,
      field: 'augmentation.prompt',
      hint: 'Use augmentation.placement "prompt".',
    });
  }
  return {
    head: augmented.slice(0, start),
    augmentation,
    tail: augmented.slice(start + augmentation.length),
  };
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
  const headIds = encodeRendered(tokenizer, head).ids;
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
