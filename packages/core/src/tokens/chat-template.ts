/** Conversations to text, by the Jinja template that comes with a chat model. */
import type { ChatMessage } from '../data/rows.js';
import { DataError, ModelError } from '../errors.js';
import { BudgetExceeded, UnsupportedConstruct } from './jinja/errors.js';
import { JinjaTemplate } from './jinja/template.js';
import type { Tokenizer } from './tokenizer.js';

const parsedTemplates = new Map<string, JinjaTemplate>();

/** What a template is rendered with, beside the conversation. */
export type ChatTokenizer = Pick<Tokenizer, 'chatTemplate' | 'chatTemplateFile' | 'specialTokens' | 'now'>;

/**
 * Renders a conversation as `apply_chat_template` of transformers does: what the template writes, to the character,
 * or an error. Special tokens that the template writes are part of the text. `documents` are none.
 *
 * @param addGenerationPrompt end with the opening of an assistant's turn
 * @param where named in errors
 * @param tools that the assistant may call, as JSON; null for none
 * @throws ModelError naming the template's file when there is no template, when it is not valid, uses something
 *   whose result in jinja2 is not computed here, or takes more work or memory than any chat needs; DataError when it
 *   refuses the messages
 */
export function renderChat(
  tokenizer: ChatTokenizer,
  messages: readonly ChatMessage[],
  addGenerationPrompt: boolean,
  where: { readonly file?: string; readonly row?: number } = {},
  tools: readonly unknown[] | null = null,
): string {
  if (tokenizer.chatTemplate === null) {
    throw new ModelError('The tokenizer has no chat template, and the data are conversations.', {
      hint: 'Choose one by tokens.chatTemplate (or --chat-template), such as chatml; or use a chat model.',
    });
  }
  const file = tokenizer.chatTemplateFile ?? undefined;
  const template = parseTemplate(tokenizer.chatTemplate, file);
  const variables = {
    ...tokenizer.specialTokens,
    messages,
    tools,
    documents: null,
    add_generation_prompt: addGenerationPrompt,
  };
  try {
    return template.render(variables, tokenizer.now);
  } catch (cause) {
    if (cause instanceof UnsupportedConstruct) throw refusal(cause, file);
    if (cause instanceof BudgetExceeded) {
      throw new ModelError(`The chat template does not come to an end: ${cause.message}.`, {
        ...(file === undefined ? {} : { file }),
        hint: 'Look for a loop that grows, or use another template.',
        cause,
      });
    }
    throw new DataError(`The chat template refuses the conversation (${(cause as Error).message}).`, {
      ...(where.file === undefined ? {} : { file: where.file }),
      ...(where.row === undefined ? {} : { row: where.row }),
      cause,
    });
  }
}

/** @throws ModelError naming `file` for what is no template, or one that is not computed here */
export function checkTemplate(source: string, file: string): void {
  parseTemplate(source, file);
}

function parseTemplate(source: string, file: string | undefined): JinjaTemplate {
  let template = parsedTemplates.get(source);
  if (template === undefined) {
    try {
      template = new JinjaTemplate(source);
    } catch (cause) {
      if (cause instanceof UnsupportedConstruct) throw refusal(cause, file);
      throw new ModelError(`The chat template is not valid (${(cause as Error).message}).`, {
        ...(file === undefined ? {} : { file }),
        hint: 'It must be a Jinja template as transformers renders it.',
        cause,
      });
    }
    parsedTemplates.set(source, template);
  }
  return template;
}

function refusal(cause: UnsupportedConstruct, file: string | undefined): ModelError {
  return new ModelError(`The chat template uses ${cause.construct}, which sralign does not compute.`, {
    ...(file === undefined ? {} : { file }),
    hint: 'Write it in another way in chat_template.jinja, or use another template.',
    cause,
  });
}

/** null where the template refuses the messages. */
export function unlessRefused<T>(render: () => T): T | null {
  try {
    return render();
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    return null;
  }
}
