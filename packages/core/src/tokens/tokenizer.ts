/**
 * Text to token ids and back, as the tokenizer.json of the model says.
 *
 * Two decisions are ours. Special tokens are never added by the tokenizer: BOS and EOS are put where they belong by
 * encode.ts. And only text at the beginning of a sequence gets the space that SentencePiece-style tokenizers put in
 * front: a text that continues another (`continues: true`) does not, so that the pieces of a sequence decode to
 * exactly the texts they came from. The text of a special token inside the data, such as "</s>" typed by a user,
 * becomes that token, as in Hugging Face's own encoding.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { ModelError } from '../errors.js';

export interface EncodeTextOptions {
  /** The text goes on from earlier tokens: no space is put in front of it. Default false. */
  readonly continues?: boolean;
}

export interface DecodeOptions {
  /** Leaves special tokens out. Default false. */
  readonly skipSpecialTokens?: boolean;
}

export interface Tokenizer {
  /** Token ids of `text`; no special token is added. */
  encode(text: string, options?: EncodeTextOptions): number[];
  /** Text of token ids, without any cleaning up; '' for none. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** The token that stands first in every sequence; null when the tokenizer does not add one itself. */
  readonly bosTokenId: number | null;
  /** The token that ends a response. */
  readonly eosTokenId: number;
  /** Largest token id + 1: the embedding of the model has at least as many rows. */
  readonly vocabularySize: number;
  /** Jinja source; null for a base model. */
  readonly chatTemplate: string | null;
  /** The file that the template stands in; null without one. */
  readonly chatTemplateFile: string | null;
  /** What `strftime_now` tells a template: one clock for all rows, so that they agree on the date. */
  readonly now: Date;
  /** bos_token, eos_token, ... as chat templates name them. */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** Text of the tokens that stand outside the vocabulary's own merging, special or not, by id. */
  readonly addedTokens: ReadonlyMap<number, string>;
  /** Ids that end a generation: EOS, and those that generation_config.json and config.json list. */
  readonly stopTokenIds: readonly number[];
  /** sha256 of all that decides the ids: tokenizer.json, chat template, BOS and EOS. */
  readonly hash: string;
}

export interface LoadTokenizerOptions {
  /** The clock of chat templates. Default: the time of the call. */
  readonly now?: Date;
}

type Json = Record<string, unknown>;

/**
 * Loads a tokenizer from a Hugging Face folder: tokenizer.json and, where present, tokenizer_config.json,
 * special_tokens_map.json, chat_template.jinja, generation_config.json and config.json.
 *
 * @throws ModelError naming the file that is missing or damaged, or when no EOS token can be found
 */
export async function loadTokenizer(
  folder: string,
  { now = new Date() }: LoadTokenizerOptions = {},
): Promise<Tokenizer> {
  const file = join(folder, 'tokenizer.json');
  const source = await readOptional(file);
  if (source === null) {
    throw new ModelError('The tokenizer is missing.', {
      file,
      hint: 'A tokenizer folder holds a tokenizer.json; model.tokenizer can name another folder.',
    });
  }
  const tokenizerJson = parseObject(source, file);
  const [config, specialTokensMap, generationConfig, modelConfig] = await Promise.all(
    ['tokenizer_config.json', 'special_tokens_map.json', 'generation_config.json', 'config.json'].map(
      async name => {
        const path = join(folder, name);
        return parseObject((await readOptional(path)) ?? '{}', path);
      },
    ),
  );
  const settings = { ...specialTokensMap, ...withoutNulls(config!) };
  const engine = build(tokenizerJson, settings, file);
  const vocabulary = engine.get_vocab();

  const specialTokens = readSpecialTokens(settings);
  const eosTokenId =
    vocabulary.get(specialTokens.eos_token ?? '') ??
    allIds(generationConfig!.eos_token_id)[0] ??
    allIds(modelConfig!.eos_token_id)[0] ??
    engine.token_to_id('<|endoftext|>');
  const eosToken = eosTokenId === undefined ? undefined : engine.id_to_token(eosTokenId);
  if (eosTokenId === undefined || eosToken === undefined) {
    throw new ModelError('The tokenizer has no end-of-sequence token.', {
      file: folder,
      hint: 'Set eos_token in tokenizer_config.json.',
    });
  }
  specialTokens.eos_token = eosToken;

  const templateFile = join(folder, 'chat_template.jinja');
  const ownTemplate = await readOptional(templateFile);
  const chatTemplate = ownTemplate ?? defaultTemplate(settings);
  const chatTemplateFile = ownTemplate === null ? join(folder, 'tokenizer_config.json') : templateFile;
  const bosTokenId = findBos(engine, settings.add_bos_token, vocabulary.get(specialTokens.bos_token ?? ''));
  const hash = createHash('sha256').update(source);
  hash.update(JSON.stringify([chatTemplate, bosTokenId, eosTokenId]));

  const continuationJson = withoutPrefixSpace(tokenizerJson);
  const continuation = continuationJson === null ? engine : build(continuationJson, settings, file);
  return {
    encode: (text, { continues = false } = {}) =>
      continues && continuation !== engine
        ? encodeContinuation(engine, continuation, text)
        : encodeText(engine, text),
    decode: (ids, options = {}) => decodeIds(engine, ids, options),
    bosTokenId,
    eosTokenId,
    vocabularySize: 1 + [...vocabulary.values()].reduce((largest, id) => Math.max(largest, id), -1),
    chatTemplate,
    chatTemplateFile: chatTemplate === null ? null : chatTemplateFile,
    now,
    specialTokens,
    addedTokens: new Map([...engine.get_added_tokens_decoder()].map(([id, { content }]) => [id, content])),
    stopTokenIds: [
      ...new Set([
        eosTokenId,
        ...allIds(generationConfig!.eos_token_id),
        ...allIds(modelConfig!.eos_token_id),
      ]),
    ],
    hash: hash.digest('hex'),
  };
}

/** Token ids of a text at the beginning of a sequence, without BOS (which a chat template may have written). */
export function encodeWithoutBos(tokenizer: Tokenizer, text: string): number[] {
  const ids = tokenizer.encode(text);
  return ids[0] === tokenizer.bosTokenId ? ids.slice(1) : ids;
}

function encodeText(engine: HuggingFaceTokenizer, text: string): number[] {
  const { ids, tokens } = engine.encode(text, { add_special_tokens: false });
  const unknown = ids.indexOf(undefined as unknown as number);
  if (unknown !== -1) {
    throw new ModelError(`The tokenizer has no token for ${JSON.stringify(tokens[unknown])}.`);
  }
  return ids;
}

/** As `encodeText`, but without a space in front of what stands before the first added token. */
function encodeContinuation(
  engine: HuggingFaceTokenizer,
  continuation: HuggingFaceTokenizer,
  text: string,
): number[] {
  const ids = encodeText(continuation, text);
  const added = engine.get_added_tokens_decoder();
  const first = ids.findIndex(id => added.has(id));
  if (first === -1) return ids;
  const usual = encodeText(engine, text);
  return [...ids.slice(0, first), ...usual.slice(usual.findIndex(id => added.has(id)))];
}

function decodeIds(engine: HuggingFaceTokenizer, ids: readonly number[], options: DecodeOptions): string {
  // The package refuses to decode nothing, and tidies spaces unless told not to.
  if (ids.length === 0) return '';
  return engine.decode([...ids], {
    skip_special_tokens: options.skipSpecialTokens ?? false,
    clean_up_tokenization_spaces: false,
  });
}

function build(tokenizerJson: Json, settings: Json, file: string): HuggingFaceTokenizer {
  try {
    return new HuggingFaceTokenizer(tokenizerJson, settings);
  } catch (cause) {
    throw new ModelError(`This is not a tokenizer that can be used (${(cause as Error).message}).`, {
      file,
      cause,
    });
  }
}

/** The same tokenizer, putting no space in front of a text; null when it puts none anyway. */
function withoutPrefixSpace(tokenizerJson: Json): Json | null {
  let changed = false;
  const strip = (part: unknown): unknown => {
    if (typeof part !== 'object' || part === null) return part;
    const { type, normalizers, pretokenizers, ...rest } = part as Json & { type?: string };
    const children = (list: unknown): unknown[] =>
      (list as unknown[]).map(strip).filter(child => child !== null);
    if (type === 'Sequence' && normalizers !== undefined) {
      return { ...rest, type, normalizers: children(normalizers) };
    }
    if (type === 'Sequence' && pretokenizers !== undefined) {
      return { ...rest, type, pretokenizers: children(pretokenizers) };
    }
    if (type === 'Prepend') {
      changed = true;
      return null;
    }
    if (type === 'Metaspace' && rest.prepend_scheme !== 'never') {
      changed = true;
      return { ...rest, type, prepend_scheme: 'never' };
    }
    if (type === 'ByteLevel' && rest.add_prefix_space === true) {
      changed = true;
      return { ...rest, type, add_prefix_space: false };
    }
    return part;
  };
  const normalizer = strip(tokenizerJson.normalizer);
  const preTokenizer = strip(tokenizerJson.pre_tokenizer);
  return changed ? { ...tokenizerJson, normalizer, pre_tokenizer: preTokenizer } : null;
}

/** BOS, when `add_bos_token` asks for it or, where that is not said, when the post-processor adds it. */
function findBos(engine: HuggingFaceTokenizer, addBos: unknown, bos: number | undefined): number | null {
  if (bos === undefined || addBos === false) return null;
  if (addBos === true) return bos;
  return engine.encode('a', { add_special_tokens: true }).ids[0] === bos ? bos : null;
}

/** A template is a text, or a list of named ones of which "default" is ours. */
function defaultTemplate(settings: Json): string | null {
  const template = settings.chat_template;
  if (typeof template === 'string') return template;
  if (!Array.isArray(template)) return null;
  const named = (template as { name?: string; template?: string }[]).find(({ name }) => name === 'default');
  return named?.template ?? null;
}

/** bos_token, eos_token, unk_token, pad_token, ...: each a text or {content}. */
function readSpecialTokens(settings: Json): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(settings)) {
    if (!name.endsWith('_token')) continue;
    const content = typeof value === 'string' ? value : (value as { content?: unknown } | null)?.content;
    if (typeof content === 'string') tokens[name] = content;
  }
  return tokens;
}

/** eos_token_id is one id, a list of them, or null. */
const allIds = (value: unknown): number[] => [value].flat().filter(id => typeof id === 'number');

const withoutNulls = (json: Json): Json =>
  Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null));

async function readOptional(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new ModelError(`The file cannot be read (${(cause as Error).message}).`, { file, cause });
  }
}

function parseObject(source: string, file: string): Json {
  try {
    const value: unknown = JSON.parse(source);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  } catch (cause) {
    throw new ModelError(`This is not valid JSON (${(cause as Error).message}).`, { file, cause });
  }
  throw new ModelError('Expected a JSON object.', { file });
}
