/**
 * Chat templates for tokenizers that bring none, written from what is publicly said of each format, and templates from a file.
 *
 *   chatml    <|im_start|>user\n...<|im_end|>\n (Qwen and many others)
 *   llama-3   <|start_header_id|>user<|end_header_id|>\n\n...<|eot_id|>
 *   zephyr    <|user|>\n...</s>\n
 *   mistral   [INST] ...[/INST] ...</s> (v0.3); the system message stands before the first question
 *   gemma     <start_of_turn>user\n...<end_of_turn>\n; the system message stands before the first question
 *   hh        \n\nHuman: ...\n\nAssistant: ... as in HH-RLHF; EOS behind the last answer only
 *
 * None of them has words for tools: each refuses a conversation that has tools, or calls of them.
 *
 * Where a tokenizer has no such special token as <|im_end|>, the marker is text of several tokens (completion.ts).
 */
import { readFile } from 'node:fs/promises';
import { nearestOf } from '../config/suggest.js';
import { ConfigError, ModelError } from '../errors.js';
import { checkRegularFile } from '../files.js';
import { checkTemplate } from './chat-template.js';

/** In a template that has no words for tools. */
const refuseTools = (name: string): string =>
  `{% if tools %}{{ raise_exception('The ${name} template does not write tools') }}{% endif %}`;

/** At the beginning of a message m. */
const refuseCalls = (name: string): string =>
  "{% if m['tool_calls'] or m['function_call'] or m['content'] is none %}" +
  `{{ raise_exception('The ${name} template does not write tool calls') }}{% endif %}`;

const ofRoles = (name: string, turn: string, answer: string): string =>
  `{% for m in messages %}${refuseCalls(name)}{{ ${turn} }}{% endfor %}{% if add_generation_prompt %}{{ ${answer} }}{% endif %}`;

/** A system message as the beginning of the first question: `first` is what that begins with, `turns` what is left. */
const SYSTEM_FIRST =
  "{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\\n\\n' %}{% set turns = messages[1:] %}" +
  "{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}";

const refuseOthers = (name: string): string =>
  `{% else %}{{ raise_exception('The ${name} template has no place for a message of the role ' + m['role']) }}{% endif %}`;

const TEMPLATES = {
  chatml: ofRoles(
    'chatml',
    "'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n'",
    "'<|im_start|>assistant\\n'",
  ),
  'llama-3': `{{ bos_token }}${ofRoles(
    'llama-3',
    "'<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>'",
    "'<|start_header_id|>assistant<|end_header_id|>\\n\\n'",
  )}`,
  zephyr: ofRoles(
    'zephyr',
    "'<|' + m['role'] + '|>\\n' + m['content'] + eos_token + '\\n'",
    "'<|assistant|>\\n'",
  ),
  mistral:
    `{{ bos_token }}${SYSTEM_FIRST}{% for m in turns %}${refuseCalls('mistral')}{% if m['role'] == 'user' %}` +
    "{{ '[INST] ' + (first if loop.first else '') + m['content'] + '[/INST]' }}{% elif m['role'] == 'assistant' %}" +
    `{{ ' ' + m['content'] | trim + eos_token }}${refuseOthers('mistral')}{% endfor %}`,
  gemma:
    `{{ bos_token }}${SYSTEM_FIRST}{% for m in turns %}${refuseCalls('gemma')}{% if m['role'] == 'user' %}` +
    "{{ '<start_of_turn>user\\n' + (first if loop.first else '') + m['content'] | trim + '<end_of_turn>\\n' }}" +
    "{% elif m['role'] == 'assistant' %}{{ '<start_of_turn>model\\n' + m['content'] | trim + '<end_of_turn>\\n' }}" +
    `${refuseOthers('gemma')}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}`,
  hh:
    `{% for m in messages %}${refuseCalls('hh')}` +
    "{% if m['role'] == 'user' %}{{ '\\n\\nHuman: ' + m['content'] | trim }}" +
    "{% elif m['role'] == 'assistant' %}{{ '\\n\\nAssistant: ' + m['content'] | trim }}{% if loop.last %}{{ eos_token }}{% endif %}" +
    `{% elif m['role'] == 'system' and loop.first %}{{ m['content'] }}${refuseOthers('hh')}{% endfor %}` +
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}",
} as const;

export type BuiltInTemplate = keyof typeof TEMPLATES;

export const BUILT_IN_TEMPLATES = Object.keys(TEMPLATES) as BuiltInTemplate[];

/**
 * The Jinja source of a built-in template.
 *
 * @param addsBos whether the tokenizer puts BOS in front of texts: a dialogue of hh is one
 */
export function builtInTemplate(name: BuiltInTemplate, addsBos: boolean): string {
  const bos = name === 'hh' && addsBos ? '{{ bos_token }}' : '';
  return `${bos}${TEMPLATES[name]}${refuseTools(name)}`;
}

export interface NamedTemplate {
  readonly source: string;
  /** The file that it stands in; null where it is built in. */
  readonly file: string | null;
}

/**
 * A template by its name, or from a file.
 *
 * @throws ConfigError when there is neither, ModelError when it is no template
 */
export async function readChatTemplate(nameOrFile: string, addsBos: boolean): Promise<NamedTemplate> {
  const name = BUILT_IN_TEMPLATES.find(name => name === nameOrFile);
  if (name !== undefined) return { source: builtInTemplate(name, addsBos), file: null };
  const bytes = await readRegularFile(nameOrFile).catch((cause: Error) => {
    const nearest = nearestOf(nameOrFile, BUILT_IN_TEMPLATES);
    throw new ConfigError(
      `It is neither a built-in chat template (${BUILT_IN_TEMPLATES.join(', ')}) nor a file that can be read (${cause.message}).`,
      {
        field: 'tokens.chatTemplate',
        cause,
        ...(nearest !== null && { hint: `Did you mean "${nearest}"?` }),
      },
    );
  });
  const source = decodeUtf8(bytes, nameOrFile);
  checkTemplate(source, nameOrFile);
  return { source, file: nameOrFile };
}

async function readRegularFile(file: string): Promise<Uint8Array> {
  await checkRegularFile(file);
  return readFile(file);
}

function decodeUtf8(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ModelError('The chat template is not text in UTF-8.', { file, cause });
  }
}
