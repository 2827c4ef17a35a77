/** Conversations to text, by the Jinja template that comes with a chat model. */
import { Template } from '@huggingface/jinja';
import type { ChatMessage } from '../data/rows.js';
import { DataError, ModelError } from '../errors.js';
import type { Tokenizer } from './tokenizer.js';

const parsedTemplates = new Map<string, Template>();

/**
 * Renders a conversation. Special tokens that the template writes are part of the text.
 *
 * @param addGenerationPrompt end with the opening of an assistant's turn
 * @param where named in errors
 * @throws ModelError when there is no template or it is not valid; DataError when it refuses the messages
 */
export function renderChat(
  tokenizer: Pick<Tokenizer, 'chatTemplate' | 'specialTokens'>,
  messages: readonly ChatMessage[],
  addGenerationPrompt: boolean,
  where: { readonly file?: string; readonly row?: number } = {},
): string {
  if (tokenizer.chatTemplate === null) {
    throw new ModelError('The tokenizer has no chat template, and the data are conversations.', {
      hint: 'Use a chat model, or data.format hh or preference.',
    });
  }
  const template = parseTemplate(tokenizer.chatTemplate);
  try {
    return template.render({
      ...tokenizer.specialTokens,
      messages,
      add_generation_prompt: addGenerationPrompt,
    });
  } catch (cause) {
    throw new DataError(`The chat template refuses the conversation (${(cause as Error).message}).`, {
      ...(where.file === undefined ? {} : { file: where.file }),
      ...(where.row === undefined ? {} : { row: where.row }),
      cause,
    });
  }
}

function parseTemplate(source: string): Template {
  let template = parsedTemplates.get(source);
  if (template === undefined) {
    try {
      template = new Template(source);
    } catch (cause) {
      throw new ModelError(`The chat template is not valid (${(cause as Error).message}).`, { cause });
    }
    parsedTemplates.set(source, template);
  }
  return template;
}
