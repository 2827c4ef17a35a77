/** The prompt of a record, under the names that published data sets give it. */
import { DataError } from '../../errors.js';
import type { Answer, ChatMessage, PromptContent } from '../rows.js';
import { fieldError, firstOf, has, isText, textField } from './fields.js';
import type { Alternatives, Fields, ParseOptions, Where } from './format.js';
import { answerField, checkAsked, holdsMessages, messagesField } from './messages.js';
import { toolsField } from './tools.js';

/** The first that a record has is its prompt. */
const NAMES = ['prompt', 'instruction', 'question', 'input', 'history'] as const;

/** The prompt under one name or another. */
export const PROMPT_NAMES: Alternatives = [
  ...NAMES.map(name => [name]),
  // An input continues an instruction.
  ['instruction', 'input'],
];

/** All that the prompt is read from. `input` continues an `instruction`. */
export const PROMPT_FIELDS: readonly string[] = [...NAMES, 'system', 'tools'];

/** The field that is the record's prompt. */
export const promptName = (record: Fields): string | undefined => firstOf(record, NAMES);

/** The fields of the prompt that the record has; null where it has none of the kind. */
export function promptFields(record: Fields, kind: 'text' | 'messages' | 'any'): readonly string[] | null {
  const name = promptName(record);
  if (name === undefined) return null;
  const isOfKind = {
    text: isText(record[name]),
    messages: holdsMessages(record[name]),
    any: isText(record[name]) || holdsMessages(record[name]),
  }[kind];
  if (!isOfKind) return null;
  const more = name === 'instruction' && has(record, 'input') ? ['input'] : [];
  return [...(record.system === undefined ? [] : ['system']), name, ...more];
}

/**
 * The prompt: messages where the field holds messages, or the record's texts are a chat; else a text.
 *
 * @throws DataError with file, row and field; for a system text in data that are no chats
 */
export function readPrompt(
  record: Fields,
  where: Where,
  { chat }: Pick<ParseOptions, 'chat'>,
): PromptContent {
  const name = promptName(record) ?? 'prompt';
  if (holdsMessages(record[name])) {
    const messages = messagesField(record, name, where);
    checkAsked(messages, { ...where, field: name });
    return chatOf(messages, record, where);
  }
  const text = promptText(record, name, where);
  if (text === '') throw new DataError('The prompt is empty.', { ...where, field: name });
  if (chat) return chatOf([{ role: 'user', content: text }], record, where);
  return { kind: 'text', text };
}

/** A conversation, with the record's system text and tools. */
export function chatOf(messages: readonly ChatMessage[], record: Fields, where: Where): PromptContent {
  const tools = toolsField(record, where);
  return { kind: 'chat', messages: withSystem(messages, record, where), ...(tools !== null && { tools }) };
}

function promptText(record: Fields, name: string, where: Where): string {
  const text = textField(record, name, where);
  const more = name === 'instruction' && has(record, 'input') ? textField(record, 'input', where) : '';
  return [text, more].filter(part => part !== '').join('\n\n');
}

/** The conversation with the record's system text in front, where it has one and the conversation has none. */
export function withSystem(
  messages: readonly ChatMessage[],
  record: Fields,
  where: Where,
): readonly ChatMessage[] {
  if (!has(record, 'system') || record.system === '' || messages[0]?.role === 'system') return messages;
  return [{ role: 'system', content: textField(record, 'system', where) }, ...messages];
}

/** An answer to the prompt. @throws DataError with file, row and field */
export function readAnswer(record: Fields, field: string, prompt: PromptContent, where: Where): Answer {
  if (prompt.kind === 'chat') return answerField(record, field, prompt.messages, where);
  if (holdsMessages(record[field]))
    throw fieldError(record[field], 'a text, as the prompt is one', { ...where, field });
  return textField(record, field, where);
}
