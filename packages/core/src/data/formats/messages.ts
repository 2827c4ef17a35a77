/** Conversations in the fields of a record. */
import { DataError } from '../../errors.js';
import type { ChatMessage } from '../rows.js';
import { fieldError } from './fields.js';
import { type Fields, onePair, type ParsedRecord, type Where } from './format.js';

const ROLES: readonly unknown[] = ['system', 'user', 'assistant'];

/** @throws DataError when the field is no list of messages {role, content} */
export function messagesField(fields: Fields, field: string, where: Where): ChatMessage[] {
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

/** The messages with which chosen and rejected both begin, leaving at least one to each. */
export function sharedMessages(fields: Fields, where: Where): ChatMessage[] {
  const chosen = messagesField(fields, 'chosen', where);
  const rejected = messagesField(fields, 'rejected', where);
  const different = chosen.findIndex((message, index) => !sameMessage(message, rejected[index]));
  const shared = different === -1 ? chosen.length : different;
  return chosen.slice(0, Math.min(shared, chosen.length - 1, rejected.length - 1));
}

/** The pair of a conversation and the answers in `chosen` and `rejected`. */
export function chatPair(prompt: readonly ChatMessage[], fields: Fields, where: Where): ParsedRecord {
  if (prompt.at(-1)?.role !== 'user') {
    throw new DataError('The conversation before the answer does not end in a user turn.', { ...where });
  }
  return onePair({
    prompt: { kind: 'chat', messages: prompt },
    chosen: answerField(fields, 'chosen', prompt, where),
    rejected: answerField(fields, 'rejected', prompt, where),
  });
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

const sameMessage = (a: ChatMessage, b: ChatMessage | undefined): boolean =>
  a.role === b?.role && a.content === b.content;
