/**
 * Text to token ids and back, as the tokenizer.json of the model says.
 *
 * Two decisions are ours. Special tokens are never added by the tokenizer: BOS and EOS are put where they belong by
 * sequence.ts and encode.ts. And only text at the beginning of a sequence gets the space that SentencePiece-style
 * tokenizers put in front: a text that continues another (`continues: true`) does not, so that the pieces of a sequence
 * decode to exactly the texts they came from. The text of a special token inside the data, such as "</s>" typed by a user,
 * becomes that token, as in Hugging Face's own encoding.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { ModelError } from '../errors.js';
import { readIfPresent } from '../files.js';
import { isRecord } from '../hf/json.js';
import { resolveModelFolder } from '../hf/resolve.js';
import { readChatTemplate } from './built-in-templates.js';
import { buildEngine, type Engine, vocabularyOf } from './engine/engine.js';
import { withinLimits } from './engine/limits.js';
import { readTokenizerSpec } from './engine/schema.js';
import { readSpecialTokens, type SettingsFile, type SpecialTokens } from './special-tokens.js';

export interface EncodeTextOptions {
  /** The text goes on from earlier tokens: no space is put in front of it. Default false. */
  readonly continues?: boolean;
}

export interface DecodeOptions {
  /** Leaves special tokens out. Default false. */
  readonly skipSpecialTokens?: boolean;
}

export interface Tokenizer {
  /**
   * Token ids of `text`; no special token is added.
   *
   * @throws ModelError naming the file when a text has no tokens, or when a pattern of the tokenizer takes too long
   */
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
  /** The file that the template stands in; null without one, and for a built-in template. */
  readonly chatTemplateFile: string | null;
  /** What `strftime_now` tells a template: one clock for all rows, so that they agree on the date. */
  readonly now: Date;
  /** bos_token, eos_token, ... as chat templates name them. */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** Text of the tokens that stand outside the vocabulary's own merging, special or not, by id. */
  readonly addedTokens: ReadonlyMap<number, string>;
  /** Ids that end a generation: EOS, and those that generation_config.json and config.json list. */
  readonly stopTokenIds: readonly number[];
  /** With these `loadTokenizer` gives the same again, to another thread. */
  readonly origin: { readonly folder: string; readonly options: LoadTokenizerOptions };
  /** sha256 of all that decides the ids: tokenizer.json, added tokens, chat template, BOS and EOS. */
  readonly hash: string;
}

export interface LoadTokenizerOptions {
  /** The clock of chat templates. Default: the time of the call. */
  readonly now?: Date;
  /** Branch, tag or commit of a model of the hub; default main. */
  readonly revision?: string;
  /** A built-in chat template or a file, in the place of the tokenizer's own; default null, that one. */
  readonly chatTemplate?: string | null;
}

/**
 * Loads a tokenizer from a folder, a run, a step of a run or the hub (hf/resolve.ts): tokenizer.json and, where present, tokenizer_config.json,
 * special_tokens_map.json, added_tokens.json, chat_template.jinja, generation_config.json and config.json.
 *
 * @throws as `resolveModelFolder`; ModelError naming the file that is missing or damaged and the field that is wrong or not
 *   supported, or when no file defines the EOS token; ConfigError when there is no such chat template
 */
export async function loadTokenizer(
  model: string,
  { now = new Date(), revision, chatTemplate: chosenTemplate = null }: LoadTokenizerOptions = {},
): Promise<Tokenizer> {
  const folder = await resolveModelFolder(model, revision, { need: 'tokenizer' });
  const file = join(folder, 'tokenizer.json');
  const source = await readOptional(file);
  if (source === null) {
    throw new ModelError('The tokenizer is missing.', {
      file,
      hint: 'A tokenizer folder holds a tokenizer.json; model.tokenizer can name another folder.',
    });
  }
  const json = parseObject(source, file);
  const settingsFile = async (name: string): Promise<SettingsFile> => {
    const path = join(folder, name);
    return { file: path, content: parseObject((await readOptional(path)) ?? '{}', path) };
  };
  const [config, specialTokensMap, addedTokens, generationConfig, modelConfig] = (await Promise.all(
    [
      'tokenizer_config.json',
      'special_tokens_map.json',
      'added_tokens.json',
      'generation_config.json',
      'config.json',
    ].map(settingsFile),
  )) as [SettingsFile, SettingsFile, SettingsFile, SettingsFile, SettingsFile];

  const { engine, special } = built(file, () => {
    const spec = readTokenizerSpec(json, file);
    const vocabulary = vocabularyOf(spec.model);
    const tokenizer = { file, spec, vocabulary };
    const special = readSpecialTokens({ tokenizer, config, specialTokensMap, addedTokens });
    const engine = buildEngine(spec, vocabulary, special.added, file);
    return { special, engine: withinLimits(engine, spec, file) };
  });
  const listedEos = [generationConfig, modelConfig].flatMap(({ content }) => allIds(content.eos_token_id));
  const eosTokenId = findEos(engine, special, listedEos, folder);
  const bosTokenId = findBos(engine, special, config.file);
  const { source: chatTemplate, file: chatTemplateFile } =
    chosenTemplate === null
      ? await ownTemplate(folder, special.settings, config.file)
      : await readChatTemplate(chosenTemplate, bosTokenId !== null);
  const hash = createHash('sha256').update(source);
  hash.update(JSON.stringify([special.added, chatTemplate, bosTokenId, eosTokenId]));
  return {
    encode: (text, { continues = false } = {}) => engine.encode(text, continues),
    decode: (ids, { skipSpecialTokens = false } = {}) => engine.decode(ids, skipSpecialTokens),
    bosTokenId,
    eosTokenId,
    vocabularySize: 1 + engine.largestId,
    chatTemplate,
    chatTemplateFile,
    now,
    specialTokens: { ...special.named, eos_token: engine.tokenOf(eosTokenId)! },
    addedTokens: new Map(special.added.map(({ id, content }) => [id, content])),
    stopTokenIds: [...new Set([eosTokenId, ...listedEos])],
    origin: { folder, options: { now, chatTemplate: chosenTemplate } },
    hash: hash.digest('hex'),
  };
}

/** What a tokenizer.json can still do to a program that has checked it, such as nesting a thousand levels deep. */
function built<T>(file: string, build: () => T): T {
  try {
    return build();
  } catch (cause) {
    if (cause instanceof ModelError) throw cause;
    throw new ModelError(`This is not a tokenizer that can be used (${(cause as Error).message}).`, {
      file,
      hint: 'Use the files that belong to the model.',
      cause,
    });
  }
}

/** The named EOS; where none is named, that of the generation or model settings, or GPT-2's. */
function findEos(
  engine: Engine,
  { named, undefinedRoles }: SpecialTokens,
  listed: readonly number[],
  folder: string,
): number {
  if (undefinedRoles.has('eos_token')) {
    throw new ModelError(
      `The tokenizer's eos_token is ${JSON.stringify(named.eos_token)}, which none of its files defines.`,
      {
        file: folder,
        field: 'eos_token',
        hint: 'Correct eos_token in tokenizer_config.json and special_tokens_map.json, or add the token to tokenizer.json.',
      },
    );
  }
  const id =
    named.eos_token === undefined
      ? (listed[0] ?? engine.idOf('<|endoftext|>'))
      : engine.idOf(named.eos_token);
  if (id === undefined || engine.tokenOf(id) === undefined) {
    throw new ModelError('The tokenizer has no end-of-sequence token.', {
      file: folder,
      hint: 'Set eos_token in tokenizer_config.json.',
    });
  }
  return id;
}

/** BOS, when `add_bos_token` asks for it or, where that is not said, when the post-processor adds it. */
function findBos(
  engine: Engine,
  { named, undefinedRoles, settings }: SpecialTokens,
  file: string,
): number | null {
  const bos = named.bos_token === undefined ? undefined : engine.idOf(named.bos_token);
  const adds = settings.add_bos_token ?? engine.prefixIds[0] === bos;
  if (bos === undefined || adds !== true) return null;
  if (undefinedRoles.has('bos_token')) {
    throw new ModelError(
      `The tokenizer's bos_token is ${JSON.stringify(named.bos_token)}, which none of its files defines.`,
      { file, field: 'bos_token', hint: 'Correct it, or set add_bos_token to false.' },
    );
  }
  return bos;
}

async function ownTemplate(
  folder: string,
  settings: Record<string, unknown>,
  settingsFile: string,
): Promise<{ source: string | null; file: string | null }> {
  const file = join(folder, 'chat_template.jinja');
  const source = await readOptional(file);
  if (source !== null) return { source, file };
  const named = defaultTemplate(settings);
  return { source: named, file: named === null ? null : settingsFile };
}

/** A template is a text, or a list of named ones of which "default" is ours. */
function defaultTemplate(settings: Record<string, unknown>): string | null {
  const template = settings.chat_template;
  if (typeof template === 'string') return template;
  if (!Array.isArray(template)) return null;
  const named = template.find(entry => isRecord(entry) && entry.name === 'default') as
    | Record<string, unknown>
    | undefined;
  return typeof named?.template === 'string' ? named.template : null;
}

/** eos_token_id is one id, a list of them, or null. */
const allIds = (value: unknown): number[] => [value].flat().filter(id => typeof id === 'number');

const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

async function readOptional(file: string): Promise<string | null> {
  const bytes = await readIfPresent(file, ModelError);
  try {
    return bytes && strictUtf8.decode(bytes);
  } catch (cause) {
    throw new ModelError(`The file cannot be read (${(cause as Error).message}).`, { file, cause });
  }
}

function parseObject(source: string, file: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(source);
    if (isRecord(value)) return value;
  } catch (cause) {
    throw new ModelError(`This is not valid JSON (${(cause as Error).message}).`, { file, cause });
  }
  throw new ModelError('Expected a JSON object.', { file });
}
