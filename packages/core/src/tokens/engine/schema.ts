/**
 * What a tokenizer.json may hold, with the meaning that the Rust library `tokenizers` gives it. A component that is
 * not listed here is refused by name: to leave it out would change token ids in silence.
 */
import { z } from 'zod';
import { ModelError } from '../../errors.js';

const pattern = z.union([
  z.strictObject({ String: z.string().min(1) }),
  z.strictObject({ Regex: z.string() }),
]);
export type PatternSpec = z.infer<typeof pattern>;

/** What becomes of the matches of a pattern when a text is split by it; older files write the names in lower case. */
const behavior = z
  .string()
  .transform(name => name.replaceAll('_', '').toLowerCase())
  .pipe(z.enum(['removed', 'isolated', 'mergedwithprevious', 'mergedwithnext', 'contiguous']));
export type SplitBehavior = z.infer<typeof behavior>;

const flag = (standard: boolean) => z.boolean().default(standard);
const character = z.string().refine(text => [...text].length === 1, 'Expected one character');

const normalizerSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('Sequence'),
    get normalizers() {
      return z.array(normalizerSchema);
    },
  }),
  z.object({ type: z.enum(['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'StripAccents', 'ByteLevel']) }),
  z.object({ type: z.literal('Prepend'), prepend: z.string() }),
  z.object({ type: z.literal('Replace'), pattern, content: z.string() }),
  z.object({ type: z.literal('Strip'), strip_left: z.boolean(), strip_right: z.boolean() }),
  z.object({ type: z.literal('Precompiled'), precompiled_charsmap: z.base64() }),
  z.object({
    type: z.literal('BertNormalizer'),
    clean_text: flag(true),
    handle_chinese_chars: flag(true),
    strip_accents: z.boolean().nullish(),
    lowercase: flag(true),
  }),
]);
export type NormalizerSpec = z.infer<typeof normalizerSchema>;

const metaspace = z
  .object({
    type: z.literal('Metaspace'),
    replacement: character,
    prepend_scheme: z.enum(['always', 'first', 'never']).default('always'),
    /** What prepend_scheme was called before. */
    add_prefix_space: z.boolean().default(true),
    split: flag(true),
  })
  .refine(
    ({ prepend_scheme, add_prefix_space }) => add_prefix_space || prepend_scheme === 'never',
    'add_prefix_space: false contradicts prepend_scheme; set prepend_scheme to never',
  );

const preTokenizerSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('Sequence'),
    get pretokenizers() {
      return z.array(preTokenizerSchema);
    },
  }),
  z.object({ type: z.literal('ByteLevel'), add_prefix_space: z.boolean(), use_regex: flag(true) }),
  metaspace,
  z.object({ type: z.literal('Split'), pattern, behavior, invert: flag(false) }),
  z.object({ type: z.literal('Punctuation'), behavior: behavior.prefault('Isolated') }),
  z.object({ type: z.literal('Digits'), individual_digits: z.boolean() }),
  z.object({ type: z.literal('CharDelimiterSplit'), delimiter: character }),
  z.object({ type: z.literal('FixedLength'), length: z.int().min(1) }),
  z.object({ type: z.enum(['Whitespace', 'WhitespaceSplit', 'BertPreTokenizer']) }),
]);
export type PreTokenizerSpec = z.infer<typeof preTokenizerSchema>;

const decoderSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('Sequence'),
    get decoders() {
      return z.array(decoderSchema);
    },
  }),
  z.object({ type: z.enum(['ByteLevel', 'ByteFallback', 'Fuse']) }),
  metaspace,
  z.object({ type: z.literal('Replace'), pattern, content: z.string() }),
  z.object({ type: z.literal('Strip'), content: character, start: z.int().min(0), stop: z.int().min(0) }),
  z.object({ type: z.literal('WordPiece'), prefix: z.string(), cleanup: z.boolean() }),
  z.object({ type: z.literal('BPEDecoder'), suffix: z.string().min(1) }),
]);
export type DecoderSpec = z.infer<typeof decoderSchema>;

/** Ids are below this: hundreds of times the largest vocabulary there is. */
const IDS = 2 ** 26;
const tokenId = z
  .int()
  .min(0)
  .max(IDS - 1);
const namedId = z.tuple([z.string(), tokenId]);
const postProcessorSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('Sequence'),
    get processors() {
      return z.array(postProcessorSchema);
    },
  }),
  z.object({ type: z.literal('ByteLevel') }),
  z.object({
    type: z.literal('TemplateProcessing'),
    single: z.array(
      z.union([
        z.object({ SpecialToken: z.object({ id: z.string() }) }),
        z.object({ Sequence: z.unknown() }),
      ]),
    ),
    special_tokens: z.record(z.string(), z.object({ ids: z.array(tokenId) })),
  }),
  z.object({ type: z.enum(['BertProcessing', 'RobertaProcessing']), sep: namedId, cls: namedId }),
]);
export type PostProcessorSpec = z.infer<typeof postProcessorSchema>;

export const addedTokenSchema = z.object({
  content: z.string().min(1),
  single_word: flag(false),
  lstrip: flag(false),
  rstrip: flag(false),
  /** Sought in the text after the normaliser, not before. Default: not for special tokens. */
  normalized: z.boolean().optional(),
  special: flag(false),
});
const listedToken = addedTokenSchema.extend({ id: tokenId });
export type AddedTokenSpec = z.infer<typeof listedToken>;

/** Vocabularies are looked at by hand: 100,000 entries would be slow to copy. */
const vocabulary = z.custom<Record<string, number>>(
  isVocabulary,
  'Expected an object of tokens and their ids',
);
const scoredPieces = z.custom<[string, number][]>(
  isScoredPieces,
  'Expected a list of one or more [piece, score]',
);
const merges = z.custom<(string | [string, string])[]>(isMergeList, 'Expected a list of pairs of tokens');
const optionalText = z.string().nullish();
const modelSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('BPE'),
    vocab: vocabulary,
    merges,
    // Dropout draws the tokens of a text by lot.
    dropout: z.literal(0).nullish(),
    unk_token: optionalText,
    continuing_subword_prefix: optionalText,
    end_of_word_suffix: optionalText,
    fuse_unk: flag(false),
    byte_fallback: flag(false),
    ignore_merges: flag(false),
  }),
  z.object({
    type: z.literal('WordPiece'),
    vocab: vocabulary,
    unk_token: z.string(),
    continuing_subword_prefix: z.string(),
    max_input_chars_per_word: z.int().min(1),
  }),
  z.object({ type: z.literal('WordLevel'), vocab: vocabulary, unk_token: z.string() }),
  z.object({
    type: z.literal('Unigram'),
    vocab: scoredPieces,
    unk_id: tokenId.nullish(),
    byte_fallback: flag(false),
  }),
]);
export type ModelSpec = z.infer<typeof modelSchema>;
export type BpeSpec = Extract<ModelSpec, { type: 'BPE' }>;
export type UnigramSpec = Extract<ModelSpec, { type: 'Unigram' }>;
export type WordSpec = Extract<ModelSpec, { type: 'WordPiece' | 'WordLevel' }>;

const tokenizerSchema = z.object({
  added_tokens: z.array(listedToken).default([]),
  normalizer: normalizerSchema.nullish(),
  pre_tokenizer: preTokenizerSchema.nullish(),
  post_processor: postProcessorSchema.nullish(),
  decoder: decoderSchema.nullish(),
  model: modelSchema,
});
export type TokenizerSpec = z.infer<typeof tokenizerSchema>;

/**
 * Whether "first" of a Metaspace means more than the first piece. In Rust it means each piece whose characters come from
 * the first one of the text, which only the very first step, behind nothing that moves characters, leaves simple.
 */
function firstIsObscure({ normalizer, pre_tokenizer: spec }: TokenizerSpec): boolean {
  const steps = spec?.type === 'Sequence' ? spec.pretokenizers : [spec];
  const place = steps.findIndex(step => mentionsFirst(step));
  if (place === -1) return false;
  const plainSplits = steps.slice(0, place).every(step => step != null && PLAIN_SPLITS.has(step.type));
  const behindSteps = place > 0 && (normalizer != null || !plainSplits);
  return behindSteps || steps[place]!.type === 'Sequence' || takesBeginning(normalizer);
}

const PLAIN_SPLITS: ReadonlySet<string> = new Set([
  'Split',
  'Digits',
  'Punctuation',
  'Whitespace',
  'WhitespaceSplit',
  'BertPreTokenizer',
]);

function mentionsFirst(spec: PreTokenizerSpec | null | undefined): boolean {
  if (spec?.type === 'Sequence') return spec.pretokenizers.some(mentionsFirst);
  return spec?.type === 'Metaspace' && spec.prepend_scheme === 'first';
}

function takesBeginning(spec: NormalizerSpec | null | undefined): boolean {
  switch (spec?.type) {
    case 'Sequence':
      return spec.normalizers.some(takesBeginning);
    case 'Strip':
      return spec.strip_left;
    case 'Replace':
      return spec.content === '';
    case 'StripAccents':
    case 'BertNormalizer':
      return true;
    default:
      return false;
  }
}

/**
 * The contents of a tokenizer.json, checked.
 *
 * @throws ModelError naming the file and the field that is wrong, or that this program does not know
 */
export function readTokenizerSpec(json: Record<string, unknown>, file: string): TokenizerSpec {
  const result = tokenizerSchema.safeParse({ ...json, model: withModelType(json.model) });
  if (result.success) {
    if (firstIsObscure(result.data)) {
      throw new ModelError(
        'Metaspace with prepend_scheme "first" is not supported behind steps that remove or move the beginning of a text.',
        {
          file,
          field: 'pre_tokenizer',
          hint: 'Set prepend_scheme to always or never, as the model was trained.',
        },
      );
    }
    return result.data;
  }
  const issue = deepest(result.error.issues[0]!);
  const field = issue.path.join('.');
  const value = issue.path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown>)?.[key], json);
  const unsupported = issue.path.at(-1) === 'type' || field === 'model.dropout';
  throw new ModelError(
    unsupported
      ? `This tokenizer uses ${JSON.stringify(value) ?? 'a component without a type'}, which is not supported.`
      : `This is not a tokenizer that can be used (${issue.message}).`,
    {
      file,
      field,
      hint:
        field === 'model.dropout'
          ? 'Set it to null: with dropout the same text has other tokens every time.'
          : 'Use the tokenizer.json that belongs to the model, as `tokenizer.save_pretrained` writes it.',
    },
  );
}

type Issue = z.core.$ZodIssue;

/** Of a union in which no form fits, what is wrong with the last one. */
function deepest(issue: Issue, path: PropertyKey[] = []): { path: PropertyKey[]; message: string } {
  const here = [...path, ...issue.path];
  const inner = issue.code === 'invalid_union' ? issue.errors.at(-1)?.[0] : undefined;
  return inner === undefined ? { path: here, message: issue.message } : deepest(inner, here);
}

/** Files of the first versions name no type of model. */
function withModelType(model: unknown): unknown {
  if (typeof model !== 'object' || model === null || 'type' in model) return model;
  const type = Array.isArray((model as { vocab?: unknown }).vocab)
    ? 'Unigram'
    : 'merges' in model
      ? 'BPE'
      : 'max_input_chars_per_word' in model
        ? 'WordPiece'
        : 'unk_token' in model
          ? 'WordLevel'
          : undefined;
  return type === undefined ? model : { type, ...model };
}

function isVocabulary(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.values(value).every(id => Number.isInteger(id) && id >= 0 && id < IDS);
}

function isScoredPieces(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every(
      entry =>
        Array.isArray(entry) &&
        entry.length === 2 &&
        typeof entry[0] === 'string' &&
        typeof entry[1] === 'number',
    )
  );
}

function isMergeList(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every(merge =>
      typeof merge === 'string'
        ? merge.startsWith('#version') ||
          (merge.includes(' ') && merge.indexOf(' ') === merge.lastIndexOf(' '))
        : Array.isArray(merge) && merge.length === 2 && merge.every(part => typeof part === 'string'),
    )
  );
}
