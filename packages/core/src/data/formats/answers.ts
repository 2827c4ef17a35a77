/** Single answers, from which only supervised training learns: to a prompt, in a conversation, or a whole text. */
import { DataError, shown } from '../../errors.js';
import type { ChatMessage, PromptContent } from '../rows.js';
import { booleanOf, firstOf, has, isText, textField } from './fields.js';
import type { Fields, Format, ParsedRecord, Where } from './format.js';
import { answerField, holdsMessages, messageOrMessages, messagesField } from './messages.js';
import { PROMPT_FIELDS, PROMPT_NAMES, promptFields, readPrompt, withSystem } from './prompt.js';
import { toolsField } from './tools.js';

const CONVERSATIONS = ['messages', 'conversations'] as const;
const COMPLETIONS = ['completion', 'response', 'output', 'answer'] as const;
/** What says of unpaired data (KTO) whether an answer is a good one. */
const LABELS = ['label', 'kto_tag'] as const;

const UNDESIRABLE = 'marked as undesirable (label: false)';
const NO_ANSWER = 'no turn of the assistant';

const labelsOf = (record: Fields) => LABELS.filter(name => has(record, name));

/** The rows of a record, unless it is marked as one not to learn from. @throws DataError for a label that says neither */
function unlessUndesirable(record: Fields, where: Where, parse: () => ParsedRecord): ParsedRecord {
  const desirable = labelsOf(record).map(name => desirableField(record, name, where));
  return desirable.includes(false) ? { skipped: UNDESIRABLE } : parse();
}

function desirableField(record: Fields, field: string, where: Where): boolean {
  const value = booleanOf(record[field]);
  if (value !== null) return value;
  throw new DataError(
    `Expected true or false (whether the answer is a good one), found ${shown(record[field], 60)}.`,
    {
      ...where,
      field,
      hint: 'Supervised training leaves out the answers that it marks as bad ones (KTO). If it says something else, rename it.',
    },
  );
}

const withLabel = (record: Fields, fields: readonly string[]): string[] => [...fields, ...labelsOf(record)];

/** {messages} or {conversations}: a conversation whose answers are trained on, with or without a label. */
export const messages: Format = {
  needs: 'messages or conversations (a conversation), and tools, label (true or false)',
  fields: [...CONVERSATIONS, 'system', 'tools', ...LABELS],
  alternatives: [CONVERSATIONS.map(name => [name]), LABELS.map(name => [name])],
  gives: 'answers',
  recognise(record) {
    const name = CONVERSATIONS.find(field => holdsMessages(record[field]));
    return name === undefined ? null : withLabel(record, [name]);
  },
  parse: (record, where) =>
    unlessUndesirable(record, where, () => {
      const name = firstOf(record, CONVERSATIONS) ?? CONVERSATIONS[0];
      const conversation = withSystem(messagesField(record, name, where), record, where);
      return conversationOf(conversation, 0, record, where);
    }),
};

/** {prompt, completion}, as texts or as messages. */
export const promptCompletion: Format = {
  needs: 'prompt, completion (texts or messages; the completion may be called response, output or answer)',
  fields: [...PROMPT_FIELDS, ...COMPLETIONS, ...LABELS],
  alternatives: [PROMPT_NAMES, COMPLETIONS.map(name => [name]), LABELS.map(name => [name])],
  gives: 'answers',
  recognise(record) {
    const prompt = promptFields(record, 'any');
    const completion = firstOf(record, COMPLETIONS);
    if (prompt === null || completion === undefined) return null;
    const value = record[completion];
    return isText(value) || holdsMessages(value) ? withLabel(record, [...prompt, completion]) : null;
  },
  parse: (record, where, options) =>
    unlessUndesirable(record, where, () => completionOf(readPrompt(record, where, options), record, where)),
};

function completionOf(prompt: PromptContent, record: Fields, where: Where): ParsedRecord {
  const name = firstOf(record, COMPLETIONS) ?? COMPLETIONS[0];
  if (prompt.kind === 'text') {
    return { rows: [{ kind: 'completion', prompt, completion: textField(record, name, where) }] };
  }
  if (holdsMessages(record[name])) {
    const answers = messageOrMessages(record, name, where);
    // An answer with calls of tools and what they gave, or several turns.
    if (answers.length > 1 && answers[0]!.role === 'assistant')
      return conversationOf([...prompt.messages, ...answers], prompt.messages.length, record, where);
  }
  return {
    rows: [{ kind: 'completion', prompt, completion: answerField(record, name, prompt.messages, where) }],
  };
}

function conversationOf(
  conversation: readonly ChatMessage[],
  firstTrained: number,
  record: Fields,
  where: Where,
): ParsedRecord {
  if (!conversation.slice(firstTrained).some(({ role }) => role === 'assistant'))
    return { skipped: NO_ANSWER };
  const tools = toolsField(record, where);
  return { rows: [{ kind: 'conversation', messages: conversation, tools, firstTrained }] };
}

/** {text}: learnt as a whole. */
export const text: Format = {
  needs: 'text (a text, learnt as a whole)',
  fields: ['text'],
  gives: 'answers',
  recognise: record => (isText(record.text) ? ['text'] : null),
  parse(record, where) {
    const content = textField(record, 'text', where);
    return content.trim() === '' ? { skipped: 'an empty text' } : { rows: [{ kind: 'text', text: content }] };
  },
};
