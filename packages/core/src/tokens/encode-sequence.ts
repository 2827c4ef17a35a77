/**
 * Supervised examples to token ids: one sequence, and which of its tokens are trained on.
 *
 *   prompt and answer    [BOS] x | y EOS                 y and what ends it
 *   conversation         [BOS] ... y1 ... y2 ... yn      every answer and the end of its turn, as the chat template writes them
 *   text                 [BOS] text EOS                  all, in pieces of at most maxTokens
 *
 * The rules of BOS, EOS and of the borders between texts are those of preference pairs (encode.ts). Of preference data the chosen
 * answer is taken; nothing is read of the other one.
 */
import type { OnBadRow } from '../data/reading.js';
import type { Answer, ConversationRow, PromptContent, Row, TextRow } from '../data/rows.js';
import { DataError } from '../errors.js';
import type { Place } from './completion.js';
import { answersIn } from './conversation.js';
import {
  type Encoded,
  type EncodedDataset,
  type EncodedSequence,
  encodeAnswer,
  encodeEach,
  encodePromptInFull,
  fitPrompt,
  isLeftOut,
  withoutEos,
} from './encode.js';
import { promptAndAnswer } from './examples.js';
import { encodeContinuation, encodePrompt, encodeRendered } from './sequence.js';
import type { Tokenizer } from './tokenizer.js';
import { cutResponse, type TokenPolicy } from './truncate.js';

export interface SequenceOptions {
  readonly policy: TokenPolicy;
  /** Which answers of a conversation are trained on. */
  readonly turns: 'all' | 'last';
  /** Rows that cannot be encoded; default error. */
  readonly onBadRow?: OnBadRow;
}

/** What a row of SFT becomes: it has no other answer that could be equal. */
export type EncodedRow = Exclude<Encoded<EncodedSequence>, 'equalAfterCut'>;

/**
 * Encodes rows for SFT.
 *
 * @throws as `encodePairs`, but for what concerns p; DataError for a conversation whose answers cannot be told from the rest
 */
export function encodeSequences(
  rows: readonly Row[],
  tokenizer: Tokenizer,
  options: SequenceOptions,
): EncodedDataset<EncodedSequence> {
  const { pairs, reports } = encodeEach(rows, row => encodeRow(row, tokenizer, options), options.onBadRow);
  return {
    pairs,
    sharedAugmentation: new Int32Array(),
    augmented: false,
    tokenizerHash: tokenizer.hash,
    reports,
  };
}

/** The sequences of one row, or why it is left out. */
export function encodeRow(row: Row, tokenizer: Tokenizer, options: SequenceOptions): EncodedRow {
  switch (row.kind) {
    case 'pair':
      return encodeAnswered(row, row.prompt, row.chosen, 'chosen', tokenizer, options);
    case 'completion':
      return encodeAnswered(row, row.prompt, row.completion, 'completion', tokenizer, options);
    case 'conversation': {
      if (options.turns === 'all') return encodeConversation(row, tokenizer, options);
      const last = row.messages.findLastIndex(({ role }) => role === 'assistant');
      const prompt = { kind: 'chat', messages: row.messages.slice(0, last), tools: row.tools } as const;
      return encodeAnswered(row, prompt, row.messages[last]!, `messages[${last}]`, tokenizer, options);
    }
    case 'text':
      return encodeText(row, tokenizer, options);
  }
}

function encodeAnswered(
  { file, row }: Place,
  content: PromptContent,
  answer: Answer,
  field: string,
  tokenizer: Tokenizer,
  { policy }: SequenceOptions,
): EncodedRow {
  const full = encodePromptInFull({ file, row }, content, tokenizer);
  if (isLeftOut(full, policy)) return 'dropped';
  const ids = encodeAnswer(content, full.prompt, answer, tokenizer, { file, row, field });
  const { prompt, removed, responseLimit } = fitPrompt(full, policy);
  const kept = cutResponse(ids, responseLimit);
  const sequence = promptAndAnswer(prompt, Int32Array.from(kept));
  return [{ file, row, ...sequence, cut: { promptTokens: removed, endTokens: ids.length - kept.length } }];
}

/**
 * The texts between answers and the answers are tokenised one by one, so that each answer has the tokens that it has behind the
 * same conversation as its prompt. What follows the last answer that fits is left out.
 */
function encodeConversation(
  conversation: ConversationRow,
  tokenizer: Tokenizer,
  options: SequenceOptions,
): EncodedRow {
  const { file, row, messages, tools, firstTrained } = conversation;
  const { policy } = options;
  const indices = [...messages.keys()].filter(
    index => index >= firstTrained && messages[index]!.role === 'assistant',
  );
  const { text, answers } = answersIn(tokenizer, { messages, tools }, indices, { file, row });
  const opening = encodeRendered(tokenizer, text.slice(0, answers[0]![0]));
  const ids = [...opening.bos, ...opening.ids];
  const trained: number[] = new Array(ids.length).fill(0);
  const append = (part: string, isTrained: 0 | 1): void => {
    for (const id of encodeContinuation(tokenizer, ids, part)) {
      ids.push(id);
      trained.push(isTrained);
    }
  };
  for (const [i, [start, end]] of answers.entries()) {
    if (i > 0) append(text.slice(answers[i - 1]![1], start), 0);
    append(text.slice(start, end), 1);
  }
  const end = trained.lastIndexOf(1, policy.maxTokens - 1) + 1;
  if (end > 0) {
    const kept = {
      tokens: Int32Array.from(ids.slice(0, end)),
      trained: Uint8Array.from(trained.slice(0, end)),
    };
    return [{ file, row, ...kept, cut: { promptTokens: 0, endTokens: ids.length - end } }];
  }
  return encodeFirstAnswer(conversation, indices[0]!, ids.length, tokenizer, options);
}

/** Of a conversation whose first answer begins behind the limit: that answer, with what the policy leaves of its prompt. */
function encodeFirstAnswer(
  { file, row, messages, tools }: ConversationRow,
  index: number,
  wholeTokens: number,
  tokenizer: Tokenizer,
  options: SequenceOptions,
): EncodedRow {
  const prompt = { kind: 'chat', messages: messages.slice(0, index), tools } as const;
  const place = { file, row };
  const made = encodeAnswered(place, prompt, messages[index]!, `messages[${index}]`, tokenizer, options);
  if (!Array.isArray(made)) return made;
  return made.map(sequence => {
    const { promptTokens } = sequence.cut;
    return {
      ...sequence,
      cut: { promptTokens, endTokens: wholeTokens - promptTokens - sequence.tokens.length },
    };
  });
}

/**
 * The pieces of a text. Each begins with BOS where the tokenizer has one, else with the last token of the piece before, which is
 * not trained on again: so every token of the text is trained on once, but for a first one that nothing stands before.
 */
function encodeText(
  { file, row, text }: TextRow,
  tokenizer: Tokenizer,
  { policy }: SequenceOptions,
): EncodedRow {
  const { bos, ids } = encodePrompt(tokenizer, { kind: 'text', text: withoutEos(text, tokenizer) });
  if (ids.length === 0) throw new DataError('The text has no tokens.', { file, row, field: 'text' });
  const all = [...ids, tokenizer.eosTokenId];
  const pieces: EncodedSequence[] = [];
  let done = 0;
  while (done < all.length) {
    const context = bos.length > 0 ? bos : all.slice(Math.max(0, done - 1), Math.max(1, done));
    const first = bos.length > 0 ? done : Math.max(1, done);
    const kept = all.slice(first, first + policy.maxTokens - context.length);
    const sequence = promptAndAnswer(Int32Array.from(context), Int32Array.from(kept));
    pieces.push({ file, row, ...sequence, cut: { promptTokens: 0, endTokens: 0 } });
    done = first + kept.length;
  }
  return pieces;
}
