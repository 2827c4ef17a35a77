/** Conversations in the fields of a record: messages {role, content}, or {from, value} as ShareGPT has them. */
import { DataError } from '../../errors.js';
import type { ChatMessage } from '../rows.js';
import { fieldError, isObject, listField } from './fields.js';
import type { Fields, Where } from './format.js';

const ROLES: readonly unknown[] = ['system', 'user', 'assistant'];

/** What the roles of ChatML are called beside {from, value}. */
const SHAREGPT_ROLES: Readonly<Record<string, ChatMessage['role']>> = {
  system: 'system',
  human: 'user',
  user: 'user',
  gpt: 'assistant',
  assistant: 'assistant',
};

const isMessage = (value: unknown): value is Fields =>
  isObject(value) && ('role' in value || 'from' in value);

/** Whether the value is a message or a list of them, by its first. */
export const holdsMessages = (value: unknown): boolean => isMessage(Array.isArray(value) ? value[0] : value);

/** @throws DataError when the field is no list of messages */
export function messagesField(record: Fields, field: string, where: Where): ChatMessage[] {
  const list = listField(record, field, 'a list of messages {role, content}', where);
  return list.map((message, index) => readMessage(message, { ...where, field: `${field}[${index}]` }));
}

/** As `messagesField`, and one message alone is a list of one. */
export const messageOrMessages = (record: Fields, field: string, where: Where): ChatMessage[] =>
  isMessage(record[field])
    ? [readMessage(record[field], { ...where, field })]
    : messagesField(record, field, where);

function readMessage(value: unknown, at: Where & { readonly field: string }): ChatMessage {
  const message = isObject(value) ? value : {};
  const shareGpt = message.role === undefined && message.from !== undefined;
  const role = shareGpt ? shareGptRole(message.from, at) : message.role;
  if (!ROLES.includes(role)) throw fieldError(role, 'the role system, user or assistant', at);
  const content = shareGpt ? message.value : message.content;
  if (typeof content !== 'string')
    throw fieldError(content, `a text as ${shareGpt ? 'value' : 'content'}`, at);
  return { role: role as ChatMessage['role'], content };
}

function shareGptRole(from: unknown, at: Where & { readonly field: string }): ChatMessage['role'] {
  if (typeof from === 'string' && Object.hasOwn(SHAREGPT_ROLES, from)) return SHAREGPT_ROLES[from]!;
  throw fieldError(from, 'from: system, human or gpt', at);
}

/** The messages with which chosen and rejected both begin, leaving at least one to each. */
export function sharedMessages(
  chosen: readonly ChatMessage[],
  rejected: readonly ChatMessage[],
): ChatMessage[] {
  const different = chosen.findIndex((message, index) => !sameMessage(message, rejected[index]));
  const shared = different === -1 ? chosen.length : different;
  return chosen.slice(0, Math.min(shared, chosen.length - 1, rejected.length - 1));
}

/** @throws DataError when nobody asks for an answer at the end of the conversation */
export function checkAsked(messages: readonly ChatMessage[], where: Where): void {
  if (messages.at(-1)?.role !== 'user')
    throw new DataError('The conversation before the answer does not end in a user turn.', { ...where });
}

/**
 * An answer given as text, as one assistant message, or as the whole conversation that ends in it.
 *
 * @param prompt the conversation before it
 */
export function answerField(
  record: Fields,
  field: string,
  prompt: readonly ChatMessage[],
  where: Where,
): string {
  if (typeof record[field] === 'string') return record[field];
  const messages = messageOrMessages(record, field, where);
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

const sameMessage = (a: ChatMessage, b: ChatMessage | undefined): boolean =>
  a.role === b?.role && a.content === b.content;
