/** Conversations in the fields of a record: messages {role, content}, or {from, value} as ShareGPT has them. */
import { DataError } from '../../errors.js';
import type { Answer, ChatMessage } from '../rows.js';
import { fieldError, has, isObject, isText, listField } from './fields.js';
import type { Fields, Where } from './format.js';
import { parseJson, plainJson } from './tools.js';

const ROLES: readonly unknown[] = ['system', 'developer', 'user', 'assistant', 'tool', 'function'];

/** What templates read of messages beside role and content. */
const MORE = [
  'name',
  'tool_calls',
  'tool_call_id',
  'function_call',
  'reasoning_content',
  'reasoning',
  'thinking',
] as const;

/** What the roles of ChatML are called beside {from, value}. */
const SHAREGPT_ROLES: Readonly<Record<string, ChatMessage['role']>> = {
  system: 'system',
  human: 'user',
  user: 'user',
  gpt: 'assistant',
  assistant: 'assistant',
  function_call: 'assistant',
  tool: 'tool',
  observation: 'tool',
  function_response: 'tool',
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
  if (!ROLES.includes(role)) throw fieldError(role, 'the role system, user, assistant or tool', at);
  if (message.from === 'function_call') return shareGptCall(message, at);
  const more = moreOf(message, at);
  const content = shareGpt ? message.value : contentOf(message.content);
  const callsOnly = (content ?? null) === null && ('tool_calls' in more || 'function_call' in more);
  if (callsOnly) return { role: role as ChatMessage['role'], content: null, ...more };
  if (typeof content !== 'string')
    throw fieldError(content, `a text as ${shareGpt ? 'value' : 'content'}`, at);
  return { role: role as ChatMessage['role'], content, ...more };
}

/** The text of a content that is given in parts, where all of them are texts. */
function contentOf(content: unknown): unknown {
  if (!Array.isArray(content) || content.length === 0) return content;
  const texts = content.map(part => (isObject(part) && part.type === 'text' ? part.text : undefined));
  return texts.every(isText) ? texts.join('') : content;
}

function moreOf(message: Fields, at: Where & { readonly field: string }): Partial<ChatMessage> {
  const given = MORE.filter(name => has(message, name) && !isEmptyList(message[name]));
  return Object.fromEntries(given.map(name => [name, plainJson(message[name], at)]));
}

const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

/** {from: function_call}, whose value is {name, arguments} as JSON, or a list of them. */
function shareGptCall(message: Fields, at: Where & { readonly field: string }): ChatMessage {
  if (!isText(message.value)) throw fieldError(message.value, 'a call {name, arguments} as JSON text', at);
  const calls = [plainJson(parseJson(message.value, at), at)].flat();
  if (!calls.every(isObject)) throw fieldError(message.value, 'a call {name, arguments} as JSON text', at);
  return {
    role: 'assistant',
    content: null,
    tool_calls: calls.map(call => ({ type: 'function', function: call })),
  };
}

function shareGptRole(from: unknown, at: Where & { readonly field: string }): ChatMessage['role'] {
  if (typeof from === 'string' && Object.hasOwn(SHAREGPT_ROLES, from)) return SHAREGPT_ROLES[from]!;
  throw fieldError(from, 'from: system, human, gpt, function_call or observation', at);
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
export function checkAsked(
  messages: readonly ChatMessage[],
  where: Where & { readonly field?: string },
): void {
  const role = messages.at(-1)?.role;
  if (role === undefined || !['user', 'tool', 'function'].includes(role))
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
): Answer {
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
  const { role, content, ...more } = answer!;
  return content !== null && Object.keys(more).length === 0 ? content : answer!;
}

const sameMessage = (a: ChatMessage, b: ChatMessage | undefined): boolean =>
  JSON.stringify(a) === JSON.stringify(b);
