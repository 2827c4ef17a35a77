/** The chat template that a trained model is saved with. */
import type { Companions } from '../hf/folder.js';
import { isRecord } from '../hf/json.js';
import { builtInTemplate } from './built-in-templates.js';
import { endOfTurn } from './completion.js';
import type { Tokenizer } from './tokenizer.js';

/**
 * What is saved beside the weights, with the chat template that the run has used: the one that tokens.chatTemplate names, or
 * that of HH-RLHF's dialogues where the tokenizer has none, which the notice says.
 *
 * @param chosen whether the tokenizer's template is that of tokens.chatTemplate
 * @param dialogues whether the training data are dialogues of HH-RLHF
 */
export function withChatTemplate(
  companions: Companions,
  tokenizer: Tokenizer,
  { chosen, dialogues }: { readonly chosen: boolean; readonly dialogues: boolean },
): { readonly companions: Companions; readonly notice: string | null } {
  const { chatTemplate, bosTokenId } = tokenizer;
  if (chosen)
    return { companions: withTemplate(companions, chatTemplate!, stopIds(tokenizer)), notice: null };
  if (!dialogues || chatTemplate !== null) return { companions, notice: null };
  return {
    companions: withTemplate(companions, builtInTemplate('hh', bosTokenId !== null), null),
    notice:
      'The model is saved with the chat template "hh": the training data are dialogues of HH-RLHF, and the tokenizer has ' +
      'no template. tokens.chatTemplate chooses another one.',
  };
}

/** The tokens that end a generation where the template's end of turn is a token that none of the model's files lists. */
function stopIds(tokenizer: Tokenizer): number[] | null {
  const end = endOfTurn(tokenizer);
  if (end === null || end.ids.length !== 1 || tokenizer.stopTokenIds.includes(end.ids[0]!)) return null;
  return [...tokenizer.stopTokenIds, ...end.ids];
}

const CONFIG_FILE = 'tokenizer_config.json';
const GENERATION_FILE = 'generation_config.json';

function withTemplate(companions: Companions, template: string, stopIds: number[] | null): Companions {
  const files = new Map(companions.files);
  files.set('chat_template.jinja', Buffer.from(template));
  const settings = parsed(files.get(CONFIG_FILE));
  if ('chat_template' in settings) {
    const { chat_template: _, ...others } = settings;
    files.set(CONFIG_FILE, json(others));
  }
  if (stopIds !== null) {
    files.set(GENERATION_FILE, json({ ...parsed(files.get(GENERATION_FILE)), eos_token_id: stopIds }));
  }
  return { ...companions, files };
}

/** The files have been read as JSON before. */
function parsed(bytes: Uint8Array | undefined): Record<string, unknown> {
  const value: unknown = bytes === undefined ? {} : JSON.parse(Buffer.from(bytes).toString('utf8'));
  return isRecord(value) ? value : {};
}

const json = (value: object): Uint8Array => Buffer.from(`${JSON.stringify(value, null, 2)}\n`);
