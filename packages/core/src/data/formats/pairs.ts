/** A chosen and a rejected answer to one prompt, as texts or as messages. */
import type { Answer, ChatMessage, PromptContent } from '../rows.js';
import { firstOf, has, isText } from './fields.js';
import {
  type Fields,
  type Format,
  onePair,
  type ParsedRecord,
  type ParseOptions,
  SMALL_GAP,
  type Where,
} from './format.js';
import { checkAsked, holdsMessages, messageOrMessages, messagesField, sharedMessages } from './messages.js';
import {
  chatOf,
  PROMPT_FIELDS,
  PROMPT_NAMES,
  promptFields,
  promptName,
  readAnswer,
  readPrompt,
} from './prompt.js';
import { PAIR_SCORE_FIELDS, PAIR_SCORES, pairGapTooSmall } from './scores.js';

const CHOSEN = ['chosen', 'chosen_response'] as const;
const REJECTED = ['rejected', 'rejected_response'] as const;
const FIELDS: readonly string[] = [...PROMPT_FIELDS, ...CHOSEN, ...REJECTED, ...PAIR_SCORE_FIELDS];

const ANSWER_NAMES = [CHOSEN.map(name => [name]), REJECTED.map(name => [name]), PAIR_SCORES] as const;
const ALTERNATIVES = [PROMPT_NAMES, ...ANSWER_NAMES] as const;

/** The names of both answers, where each is of this kind; null where they are not. */
function answerNames(record: Fields, isOfKind: (value: unknown) => boolean): [string, string] | null {
  const chosen = firstOf(record, CHOSEN);
  const rejected = firstOf(record, REJECTED);
  if (chosen === undefined || rejected === undefined) return null;
  return isOfKind(record[chosen]) && isOfKind(record[rejected]) ? [chosen, rejected] : null;
}

/** The names of a prompt that is a text, and of its answers, where each is of this kind; null where they are not. */
function textPromptAndAnswers(record: Fields, isOfKind: (value: unknown) => boolean): string[] | null {
  const prompt = promptFields(record, 'text');
  const answers = answerNames(record, isOfKind);
  return prompt && answers && [...prompt, ...answers];
}

/** The answers of the record to this prompt. */
function pairOf(prompt: PromptContent, record: Fields, where: Where, options: ParseOptions): ParsedRecord {
  const answer = (names: readonly string[]): Answer =>
    readAnswer(record, firstOf(record, names) ?? names[0]!, prompt, where);
  const pair = onePair({ prompt, chosen: answer(CHOSEN), rejected: answer(REJECTED) });
  return pairGapTooSmall(record, where, options) ? { skipped: SMALL_GAP } : pair;
}

/** {prompt, chosen, rejected} as texts, taken as they are. */
export const preference: Format = {
  needs: 'prompt, chosen, rejected (texts; the prompt may be called instruction, question or input)',
  fields: FIELDS,
  alternatives: ALTERNATIVES,
  gives: 'pairs',
  recognise: record => textPromptAndAnswers(record, isText),
  parse: (record, where, options) => pairOf(readPrompt(record, where, options), record, where, options),
};

/** Orca pairs: {system, question, chosen, rejected} as texts, which are a chat. */
export const orca: Format = {
  needs: 'question, chosen, rejected (texts), and system',
  fields: FIELDS,
  alternatives: ALTERNATIVES,
  gives: 'pairs',
  recognise: record =>
    has(record, 'question') && record.system !== undefined ? preference.recognise(record) : null,
  parse: (record, where, options) => preference.parse(record, where, { ...options, chat: true }),
};

/** {prompt: messages, chosen, rejected: messages or text}, or {chosen, rejected: messages} that begin alike. */
export const conversational: Format = {
  needs:
    'chosen, rejected (messages or texts) and prompt (messages), which chosen and rejected may begin with instead',
  fields: FIELDS,
  alternatives: ALTERNATIVES,
  gives: 'pairs',
  recognise(record) {
    const prompt = promptFields(record, 'messages');
    const answers = answerNames(record, value => holdsMessages(value) || (prompt !== null && isText(value)));
    return answers && (prompt !== null || !has(record, 'prompt')) ? [...(prompt ?? []), ...answers] : null;
  },
  parse(record, where, options) {
    const name = promptName(record);
    const inAnswers = name === undefined || (name !== 'prompt' && !holdsMessages(record[name]));
    const prompt = inAnswers
      ? sharedPrompt(record, where)
      : chatOf(askedMessages(record, name, where), record, where);
    return pairOf(prompt, record, where, options);
  },
};

/**
 * UltraFeedback, binarized: {chosen, rejected: messages}, the prompt being the messages they share; or {prompt, chosen,
 * rejected: text}, a chat with one user turn.
 */
export const ultrafeedback: Format = {
  needs: 'prompt (text), chosen, rejected (messages)',
  fields: FIELDS,
  alternatives: ALTERNATIVES,
  gives: 'pairs',
  recognise: record => textPromptAndAnswers(record, holdsMessages),
  parse(record, where, options) {
    const inAnswers = answerNames(record, isText) === null && !onlyAnswers(record);
    const prompt = inAnswers ? sharedPrompt(record, where) : readPrompt(record, where, { chat: true });
    return pairOf(prompt, record, where, options);
  },
};

/** ShareGPT, as LLaMA-Factory's files of ranked answers: {conversations: messages, chosen, rejected: message}. */
export const sharegpt: Format = {
  needs: 'conversations (messages {from, value}), chosen, rejected (a message or text)',
  fields: ['conversations', 'system', 'tools', ...CHOSEN, ...REJECTED, ...PAIR_SCORE_FIELDS],
  alternatives: ANSWER_NAMES,
  gives: 'pairs',
  recognise(record) {
    const answers = answerNames(record, value => holdsMessages(value) || isText(value));
    return answers && holdsMessages(record.conversations) ? ['conversations', ...answers] : null;
  },
  parse(record, where, options) {
    const prompt = chatOf(askedMessages(record, 'conversations', where), record, where);
    return pairOf(prompt, record, where, options);
  },
};

/** Whether both answers are one message each, so that the prompt is in its own field. */
const onlyAnswers = (record: Fields): boolean =>
  answerNames(record, value => !Array.isArray(value) || value.length === 1) !== null;

function askedMessages(record: Fields, field: string, where: Where): ChatMessage[] {
  const messages = messagesField(record, field, where);
  checkAsked(messages, { ...where, field });
  return messages;
}

/** The messages with which both answers begin. */
function sharedPrompt(record: Fields, where: Where): PromptContent {
  const [chosen, rejected] = [CHOSEN, REJECTED].map(names =>
    messageOrMessages(record, firstOf(record, names) ?? names[0], where),
  ) as [ChatMessage[], ChatMessage[]];
  const shared = sharedMessages(chosen, rejected);
  checkAsked(shared, where);
  return chatOf(shared, record, where);
}
