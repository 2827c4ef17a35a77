/** What the fields of a record mean in each data format. */
import type { Config } from '../config/schema.js';
import { DataError, type ErrorDetails, shown } from '../errors.js';
import type { ChatMessage, EqualAnswers, PreferenceRow, PromptContent } from './rows.js';

export type DataFormat = Config['data']['format'];

/** The content of a pair, or the reason why a well-formed record holds none. */
export type ParsedRecord =
  | Pick<PreferenceRow, 'prompt' | 'chosen' | 'rejected'>
  | { readonly skipped: string };

interface Where {
  readonly file: string;
  readonly row: number;
}

type Fields = Readonly<Record<string, unknown>>;

/** The fields that the formats read. */
export const FIELDS = ['prompt', 'chosen', 'rejected'] as const;

const ROLES: readonly unknown[] = ['system', 'user', 'assistant'];
const ASSISTANT_TURN = '\n\nAssistant:';
const HUMAN_TURN = '\n\nHuman:';

/**
 * Reads one record.
 *
 * @throws DataError with file, row and field when a field is missing or of the wrong kind, or the prompt is empty
 */
export function parseRecord(
  format: DataFormat,
  value: unknown,
  where: Where,
  equalAnswers: EqualAnswers,
): ParsedRecord {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DataError('Expected a record with fields.', { ...where });
  }
  const parsed = PARSERS[format](value as Fields, where);
  if ('skipped' in parsed) return parsed;
  if (parsed.prompt.kind === 'text' && parsed.prompt.text === '') {
    throw new DataError('The prompt is empty.', { ...where, field: 'prompt' });
  }
  if (equalAnswers === 'drop' && parsed.chosen === parsed.rejected) {
    return { skipped: 'chosen equals rejected' };
  }
  return parsed;
}

const PARSERS: Record<DataFormat, (fields: Fields, where: Where) => ParsedRecord> = {
  hh: parseHh,
  preference: (fields, where) => ({
    prompt: { kind: 'text', text: textField(fields, 'prompt', where) },
    chosen: textField(fields, 'chosen', where),
    rejected: textField(fields, 'rejected', where),
  }),
  conversational: parseConversational,
  ultrafeedback: parseUltrafeedback,
};

/**
 * HH-RLHF: two dialogues in one text each. The prompt is what they share, up to and including their last
 * "\n\nAssistant:"; each answer is the rest, which must not hold another turn.
 */
function parseHh(fields: Fields, where: Where): ParsedRecord {
  const chosen = textField(fields, 'chosen', where);
  const rejected = textField(fields, 'rejected', where);
  const shared = commonPrefixLength(chosen, rejected);
  const turn = chosen.lastIndexOf(ASSISTANT_TURN, shared - ASSISTANT_TURN.length);
  if (turn === -1 || shared < ASSISTANT_TURN.length) {
    return { skipped: 'no shared prompt that ends in "\\n\\nAssistant:"' };
  }
  const end = turn + ASSISTANT_TURN.length;
  const answers = [chosen.slice(end), rejected.slice(end)] as const;
  if (answers.some(answer => answer.includes(ASSISTANT_TURN) || answer.includes(HUMAN_TURN))) {
    return { skipped: 'the dialogues part before the last answer' };
  }
  return { prompt: { kind: 'text', text: chosen.slice(0, end) }, chosen: answers[0], rejected: answers[1] };
}

/** {prompt: messages, chosen, rejected: messages or text}, or {chosen, rejected: messages} that begin alike. */
function parseConversational(fields: Fields, where: Where): ParsedRecord {
  const prompt =
    fields.prompt === undefined ? sharedMessages(fields, where) : messagesField(fields, 'prompt', where);
  return chatPair(prompt, fields, where);
}

/**
 * UltraFeedback, binarized: {chosen, rejected: messages}, the prompt being the messages they share; or {prompt, chosen,
 * rejected: text}, a chat with one user turn.
 */
function parseUltrafeedback(fields: Fields, where: Where): ParsedRecord {
  const prompt: ChatMessage[] =
    typeof fields.chosen === 'string'
      ? [{ role: 'user', content: textField(fields, 'prompt', where) }]
      : sharedMessages(fields, where);
  return chatPair(prompt, fields, where);
}

function chatPair(prompt: readonly ChatMessage[], fields: Fields, where: Where): ParsedRecord {
  if (prompt.at(-1)?.role !== 'user') {
    throw new DataError('The conversation before the answer does not end in a user turn.', { ...where });
  }
  const content: PromptContent = { kind: 'chat', messages: prompt };
  return {
    prompt: content,
    chosen: answerField(fields, 'chosen', prompt, where),
    rejected: answerField(fields, 'rejected', prompt, where),
  };
}

/** An answer given as text, as one assistant message, or as the whole conversation that ends in it. */
function answerField(fields: Fields, field: string, prompt: readonly ChatMessage[], where: Where): string {
  if (typeof fields[field] === 'string') return fields[field];
  const messages = messagesField(fields, field, where);
  const rest = prompt.every((message, index) => sameMessage(message, messages[index]))
    ? messages.slice(prompt.length)
    : messages;
  const [answer] = rest;
  if (rest.length !== 1 || answer!.role !== 'assistant') {
    throw new DataError('Expected one assistant message after the messages of the prompt.', {
      ...where,
      field,
    });
  }
  return answer!.content;
}

/** The messages with which chosen and rejected both begin, leaving at least one to each. */
function sharedMessages(fields: Fields, where: Where): ChatMessage[] {
  const chosen = messagesField(fields, 'chosen', where);
  const rejected = messagesField(fields, 'rejected', where);
  const different = chosen.findIndex((message, index) => !sameMessage(message, rejected[index]));
  const shared = different === -1 ? chosen.length : different;
  return chosen.slice(0, Math.min(shared, chosen.length - 1, rejected.length - 1));
}

function textField(fields: Fields, field: string, where: Where): string {
  const value = fields[field];
  if (typeof value === 'string') return value;
  throw fieldError(value, 'a text', { ...where, field });
}

function messagesField(fields: Fields, field: string, where: Where): ChatMessage[] {
  const value = fields[field];
  if (!Array.isArray(value) || value.length === 0) {
    throw fieldError(value, 'a list of messages {role, content}', { ...where, field });
  }
  return value.map((message: Partial<ChatMessage> | null, index) => {
    const at = { ...where, field: `${field}[${index}]` };
    if (!ROLES.includes(message?.role)) {
      throw fieldError(message?.role, 'the role system, user or assistant', at);
    }
    if (typeof message?.content !== 'string') throw fieldError(message?.content, 'a text as content', at);
    return { role: message.role!, content: message.content };
  });
}

function fieldError(value: unknown, expected: string, details: ErrorDetails): DataError {
  const hint = 'See data.format for the fields of each format.';
  if (value === undefined || value === null) {
    return new DataError(`Missing; expected ${expected}.`, { ...details, hint });
  }
  return new DataError(`Expected ${expected}, found ${shown(value, 60)}.`, { ...details, hint });
}

const sameMessage = (a: ChatMessage, b: ChatMessage | undefined): boolean =>
  a.role === b?.role && a.content === b.content;

function commonPrefixLength(a: string, b: string): number {
  const limit = Math.min(a.length, b.length);
  let length = 0;
  while (length < limit && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return length;
}
