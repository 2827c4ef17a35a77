/** Whether a chat template writes the tools of a conversation and the calls of them: what it leaves out nothing would learn. */
import type { ChatMessage, PromptContent } from '../data/rows.js';
import { DataError } from '../errors.js';
import { type ChatTokenizer, renderChat, unlessRefused } from './chat-template.js';

type Chat = Omit<Extract<PromptContent, { kind: 'chat' }>, 'kind'>;

interface Place {
  readonly file: string;
  readonly row: number;
}

const HINT = 'Use a chat template that writes them, or remove them from the data.';

/** The conversation without something; null where the template refuses it. */
function tryRender(
  tokenizer: ChatTokenizer,
  { messages, tools }: Chat,
  addGenerationPrompt: boolean,
): string | null {
  return unlessRefused(() => renderChat(tokenizer, messages, addGenerationPrompt, {}, tools));
}

/**
 * @param text the conversation as rendered
 * @throws DataError where the text is the same without the tools
 */
export function checkToolsWritten(
  tokenizer: ChatTokenizer,
  chat: Chat,
  addGenerationPrompt: boolean,
  text: string,
  place: Place,
): void {
  if ((chat.tools ?? []).length === 0) return;
  if (tryRender(tokenizer, { ...chat, tools: null }, addGenerationPrompt) !== text) return;
  throw new DataError('The chat template does not write the tools.', {
    ...place,
    field: 'tools',
    hint: HINT,
  });
}

/**
 * @param text the conversation as rendered
 * @param fields of the messages that are looked at, by their index: named in errors
 * @throws DataError where the text is the same without the tool calls of one of them
 */
export function checkCallsWritten(
  tokenizer: ChatTokenizer,
  chat: Chat,
  addGenerationPrompt: boolean,
  text: string,
  fields: ReadonlyMap<number, string>,
  place: Place,
): void {
  for (const [index, field] of fields) {
    const message = chat.messages[index]!;
    if ((message.tool_calls ?? message.function_call ?? null) === null) continue;
    const without = chat.messages.with(index, withoutCalls(message));
    if (tryRender(tokenizer, { ...chat, messages: without }, addGenerationPrompt) !== text) continue;
    throw new DataError('The chat template does not write the tool calls.', { ...place, field, hint: HINT });
  }
}

function withoutCalls({ tool_calls: _, function_call: __, ...message }: ChatMessage): ChatMessage {
  return message as ChatMessage;
}

/** The messages of a list in a field. */
export const fieldsOf = (field: string, messages: readonly ChatMessage[]): ReadonlyMap<number, string> =>
  new Map(messages.map((_, index) => [index, `${field}[${index}]`]));
