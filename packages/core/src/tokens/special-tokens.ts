/**
 * The special and added tokens of a tokenizer, which stand in up to four files: tokenizer.json, tokenizer_config.json,
 * special_tokens_map.json and added_tokens.json. They are read as transformers 5 does: where tokenizer_config.json has
 * an `added_tokens_decoder` the two old files do not count; else special_tokens_map.json overrides tokenizer_config.json.
 */
import { ModelError } from '../errors.js';
import { isRecord } from '../hf/json.js';
import type { AddedToken } from './engine/added-tokens.js';
import { type AddedTokenSpec, addedTokenSchema, type TokenizerSpec } from './engine/schema.js';

type Json = Record<string, unknown>;

/** A small JSON file of the tokenizer's folder; `content` is empty where there is none. */
export interface SettingsFile {
  readonly file: string;
  readonly content: Json;
}

export interface TokenizerFiles {
  readonly tokenizer: {
    readonly file: string;
    readonly spec: TokenizerSpec;
    /** Ids by token, without the added ones. */
    readonly vocabulary: ReadonlyMap<string, number>;
  };
  readonly config: SettingsFile;
  readonly specialTokensMap: SettingsFile;
  readonly addedTokens: SettingsFile;
}

export interface SpecialTokens {
  /** tokenizer_config.json with what overrides it. */
  readonly settings: Json;
  /** Text by role: bos_token, eos_token, ... */
  readonly named: Record<string, string>;
  /** All tokens that are found in texts as they stand, with their ids. */
  readonly added: readonly AddedToken[];
  /** Which of `named` no file defines: they are only named. */
  readonly undefinedRoles: ReadonlySet<string>;
}

/** The roles that every tokenizer knows, in the order in which transformers adds their tokens. */
const ROLES = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/** @throws ModelError naming file and field of a token that is not one, or whose id cannot be */
export function readSpecialTokens(files: TokenizerFiles): SpecialTokens {
  const { tokenizer, config, specialTokensMap, addedTokens } = files;
  const modern = isRecord(config.content.added_tokens_decoder);
  const settings = modern ? config.content : { ...config.content, ...specialTokensMap.content };
  const sourceOf = (key: string): string =>
    !modern && key in specialTokensMap.content ? specialTokensMap.file : config.file;

  const roles = new Map<string, TokenFlags>();
  for (const key of [...ROLES, ...Object.keys(settings).filter(key => !ROLES.includes(key))]) {
    const value = settings[key];
    // Other keys of that ending can be switches, such as add_bos_token.
    const isRole = ROLES.includes(key) || typeof value === 'string' || isRecord(value);
    if (key.endsWith('_token') && value != null && isRole)
      roles.set(key, readToken(value, sourceOf(key), key));
  }
  const listKey = ['extra_special_tokens', 'additional_special_tokens'].find(key => settings[key] != null);
  const extras = listKey === undefined ? [] : readList(settings[listKey], sourceOf(listKey), listKey);
  const special = new Set([...roles.values(), ...extras].map(({ content }) => content));

  const collected = new Collection(tokenizer.vocabulary);
  for (const [index, token] of tokenizer.spec.added_tokens.entries()) {
    collected.add(token, { id: token.id, file: tokenizer.file, field: `added_tokens.${index}.id` });
  }
  const stated = modern ? readDecoder(config) : readAddedTokens(addedTokens);
  for (const { token, ...place } of stated) {
    const isSpecial = token.special || special.has(token.content);
    // An entry of added_tokens.json says nothing of the kind: what is special is not normalised.
    const normalized = modern ? token.normalized : !isSpecial;
    collected.add({ ...token, special: isSpecial, normalized }, place);
  }
  const isDefined = (content: string): boolean =>
    collected.defines(content) || extras.some(token => token.content === content);
  const undefinedRoles = new Set([...roles.keys()].filter(role => !isDefined(roles.get(role)!.content)));
  for (const token of [...roles.values(), ...extras]) collected.addNew(token);
  const named = Object.fromEntries([...roles].map(([role, { content }]) => [role, content]));
  return { settings, named, added: collected.tokens(), undefinedRoles };
}

type TokenFlags = Omit<AddedTokenSpec, 'id'>;

const PLAIN = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

/** Where an id is stated, for the message when it cannot be. */
interface StatedId {
  readonly id: number;
  readonly file: string;
  readonly field: string;
}

/** Added tokens in their order; each gets the id of its text in the vocabulary, or the next one behind all others. */
class Collection {
  readonly #tokens = new Map<string, AddedToken>();
  readonly #vocabulary: ReadonlyMap<string, number>;
  #nextId: number;

  constructor(vocabulary: ReadonlyMap<string, number>) {
    this.#vocabulary = vocabulary;
    this.#nextId = vocabulary.size;
  }

  defines(content: string): boolean {
    return this.#vocabulary.has(content) || this.#tokens.has(content);
  }

  /** Adds a token, or changes how one is found. */
  add(token: TokenFlags, stated?: StatedId): void {
    const known = this.#tokens.get(token.content)?.id ?? this.#vocabulary.get(token.content);
    const id = known ?? this.#nextId;
    if (stated !== undefined && stated.id !== id) {
      throw new ModelError(
        `The token ${JSON.stringify(token.content)} is said to have the id ${stated.id}, but it gets ${id}.`,
        {
          file: stated.file,
          field: stated.field,
          hint: 'An added token has its id in the vocabulary, or the next one behind it: correct the id, or use the files that belong to the model.',
        },
      );
    }
    this.#nextId = Math.max(this.#nextId, id + 1);
    const special = token.special || this.#tokens.get(token.content)?.special === true;
    this.#tokens.set(token.content, {
      ...token,
      id,
      special,
      normalized: token.normalized ?? !token.special,
    });
  }

  addNew(token: TokenFlags): void {
    if (!this.#tokens.has(token.content)) this.add(token);
  }

  tokens(): AddedToken[] {
    return [...this.#tokens.values()];
  }
}

function readDecoder({ file, content }: SettingsFile): (StatedId & { token: TokenFlags })[] {
  return Object.entries(content.added_tokens_decoder as Json)
    .map(([id, entry]) => {
      const field = `added_tokens_decoder.${id}`;
      if (!/^\d{1,10}$/.test(id)) throw badToken(file, field, 'its key is not a token id');
      return { id: Number(id), file, field, token: readToken(entry, file, field, false) };
    })
    .sort((a, b) => a.id - b.id);
}

function readAddedTokens({ file, content }: SettingsFile): (StatedId & { token: TokenFlags })[] {
  return Object.entries(content)
    .map(([text, id]) => {
      if (typeof id !== 'number' || text === '') throw badToken(file, text, 'expected a text and its id');
      return { id, file, field: text, token: { ...PLAIN, content: text, special: false } };
    })
    .sort((a, b) => a.id - b.id);
}

function readList(value: unknown, file: string, field: string): TokenFlags[] {
  if (Array.isArray(value)) return value.map((entry, index) => readToken(entry, file, `${field}.${index}`));
  // A newer form: roles of their own.
  if (isRecord(value))
    return Object.entries(value).map(([role, entry]) => readToken(entry, file, `${field}.${role}`));
  throw badToken(file, field, 'expected a list of tokens');
}

/** A token as its text, or as {content, lstrip, ...}. */
function readToken(value: unknown, file: string, field: string, special = true): TokenFlags {
  if (typeof value === 'string' && value !== '') return { ...PLAIN, content: value };
  const result = isRecord(value) ? addedTokenSchema.safeParse({ special, ...value }) : undefined;
  if (result?.success) return { ...result.data, normalized: result.data.normalized ?? !result.data.special };
  const issue = result?.error.issues[0];
  throw issue === undefined
    ? badToken(file, field, 'expected a text, or an object with its content')
    : badToken(file, [field, ...issue.path].join('.'), issue.message);
}

const badToken = (file: string, field: string, problem: string): ModelError =>
  new ModelError(`This is not a token (${problem}).`, {
    file,
    field,
    hint: 'Write it as `tokenizer.save_pretrained` does.',
  });
