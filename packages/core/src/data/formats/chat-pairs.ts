/** Pairs of answers to a conversation. */
import type { ChatMessage } from '../rows.js';
import { textField } from './fields.js';
import type { Format } from './format.js';
import { chatPair, messagesField, sharedMessages } from './messages.js';

const FIELDS = ['prompt', 'chosen', 'rejected'];

/** {prompt: messages, chosen, rejected: messages or text}, or {chosen, rejected: messages} that begin alike. */
export const conversational: Format = {
  fields: FIELDS,
  parse(record, where) {
    const prompt =
      record.prompt === undefined ? sharedMessages(record, where) : messagesField(record, 'prompt', where);
    return chatPair(prompt, record, where);
  },
};

/**
 * UltraFeedback, binarized: {chosen, rejected: messages}, the prompt being the messages they share; or {prompt, chosen,
 * rejected: text}, a chat with one user turn.
 */
export const ultrafeedback: Format = {
  fields: FIELDS,
  parse(record, where) {
    const prompt: ChatMessage[] =
      typeof record.chosen === 'string'
        ? [{ role: 'user', content: textField(record, 'prompt', where) }]
        : sharedMessages(record, where);
    return chatPair(prompt, record, where);
  },
};
