/**
 * Texts to token ids and back with the components of a tokenizer.json, as the Rust library `tokenizers` computes them:
 * added tokens out of the text, the normaliser, added tokens out of the normalised text, the pre-tokenizer, the model.
 */
import { ModelError } from '../../errors.js';
import { type AddedToken, addedTokenFinder } from './added-tokens.js';
import { buildBpe, type Model } from './bpe.js';
import { withoutPrefixSpace } from './continuation.js';
import { buildDecoder } from './decoders.js';
import { buildNormalizer } from './normalizers.js';
import { buildPreTokenizer } from './pre-tokenizers.js';
import type { ModelSpec, PostProcessorSpec, TokenizerSpec } from './schema.js';
import { buildUnigram } from './unigram.js';
import { remembered } from './word-cache.js';
import { buildWords } from './words.js';

export interface Engine {
  /**
   * Ids of a text, without what the post-processor puts around it.
   *
   * @param continues the text goes on from earlier tokens: no space is put in front of what stands before the first
   *   added token
   */
  encode(text: string, continues?: boolean): number[];
  decode(ids: readonly number[], skipSpecialTokens: boolean): string;
  idOf(token: string): number | undefined;
  tokenOf(id: number): string | undefined;
  /** Largest id of a token. */
  readonly largestId: number;
  /** What the post-processor puts in front of a text. */
  readonly prefixIds: readonly number[];
}

/**
 * @param vocabulary ids by token of the model, without the added tokens
 * @param addedTokens with their ids, in the order in which they were added
 * @throws ModelError naming file and field of what cannot be used
 */
export function buildEngine(
  spec: TokenizerSpec,
  vocabulary: ReadonlyMap<string, number>,
  addedTokens: readonly AddedToken[],
  file: string,
): Engine {
  const model = buildModel(spec.model, vocabulary, file);
  const usual = buildSteps(spec, model, file);
  const continuing = buildSteps(withoutPrefixSpace(spec), model, file);
  const decoder = spec.decoder == null ? null : buildDecoder(spec.decoder, file);
  const normalized = addedTokens.filter(token => token.normalized);
  checkForms(normalized, usual.normalize, file);
  const verbatim = addedTokens.filter(token => !token.normalized);
  const findVerbatim = addedTokenFinder(verbatim, text => text);
  const findNormalized = addedTokenFinder(normalized, usual.normalize);

  const addedIds = new Map(addedTokens.map(({ content, id }) => [content, id]));
  const tokenOfId = new Map<number, string>();
  let largestId = -1;
  for (const ids of [vocabulary, addedIds]) {
    for (const [token, id] of ids) {
      tokenOfId.set(id, token);
      if (id > largestId) largestId = id;
    }
  }
  // As the Rust library from 0.23 on: an added token is decoded to the form in which it is found.
  const shownOfId = new Map(normalized.map(({ id, content }) => [id, usual.normalize(content)]));
  const specialIds = new Set(addedTokens.filter(({ special }) => special).map(({ id }) => id));

  return {
    encode(text, continues = false) {
      const ids: number[] = [];
      let steps = continues ? continuing : usual;
      let first = !continues;
      const add = (token: AddedToken): void => {
        ids.push(token.id);
        steps = usual;
      };
      for (const outer of findVerbatim(text)) {
        if (outer.token !== null) add(outer.token);
        else {
          for (const section of findNormalized(steps.normalize(outer.text))) {
            if (section.token !== null) add(section.token);
            else {
              const pieces: string[] = [];
              steps.cut(section.text, first, pieces);
              for (const piece of pieces) {
                for (const id of steps.encodePiece(piece)) ids.push(id);
              }
            }
            first = false;
          }
        }
        first = false;
      }
      return ids;
    },
    decode(ids, skipSpecialTokens) {
      const shown = skipSpecialTokens ? ids.filter(id => !specialIds.has(id)) : ids;
      const tokens = shown
        .map(id => shownOfId.get(id) ?? tokenOfId.get(id))
        .filter(token => token !== undefined);
      return decoder === null ? tokens.join(' ') : decoder(tokens).join('');
    },
    idOf: token => addedIds.get(token) ?? vocabulary.get(token),
    tokenOf: id => tokenOfId.get(id),
    largestId,
    prefixIds: prefixIds(spec.post_processor, file),
  };
}

/** Added tokens that are sought in normalised text must be told apart there. */
function checkForms(tokens: readonly AddedToken[], normalize: (text: string) => string, file: string): void {
  const seen = new Map<string, string>();
  for (const { content } of tokens) {
    const form = normalize(content);
    const quoted = JSON.stringify(content);
    const other = seen.get(form);
    if (form === '' || other !== undefined) {
      throw new ModelError(
        form === ''
          ? `The normaliser leaves nothing of the added token ${quoted}.`
          : `The normaliser makes the same of the added tokens ${other} and ${quoted}.`,
        { file, field: 'added_tokens', hint: 'Set "normalized" of the token to false.' },
      );
    }
    seen.set(form, quoted);
  }
}

function buildSteps({ normalizer, pre_tokenizer }: TokenizerSpec, model: Model, file: string) {
  const { cut, spell } = buildPreTokenizer(pre_tokenizer, file);
  return {
    normalize: buildNormalizer(normalizer, file),
    cut,
    encodePiece: remembered(piece => model.encode(spell(piece))),
  };
}

function buildModel(spec: ModelSpec, ids: ReadonlyMap<string, number>, file: string): Model {
  switch (spec.type) {
    case 'BPE':
      return buildBpe(spec, ids, file);
    case 'Unigram':
      return buildUnigram(spec, ids, file);
    default:
      return buildWords(spec, ids, file);
  }
}

/** Ids by token of the model; of two of one text, the last. */
export function vocabularyOf(spec: ModelSpec): Map<string, number> {
  if (spec.type === 'Unigram') return new Map(spec.vocab.map(([token], id) => [token, id]));
  return new Map(Object.entries(spec.vocab));
}

function prefixIds(spec: PostProcessorSpec | null | undefined, file: string): number[] {
  if (spec === null || spec === undefined || spec.type === 'ByteLevel') return [];
  if (spec.type === 'Sequence') {
    // Each puts its tokens around what those before it gave.
    return spec.processors
      .map(step => prefixIds(step, file))
      .reverse()
      .flat();
  }
  if (spec.type !== 'TemplateProcessing') return [spec.cls[1]];
  const ids: number[] = [];
  for (const part of spec.single) {
    if (!('SpecialToken' in part)) break;
    const { id } = part.SpecialToken;
    const token = Object.hasOwn(spec.special_tokens, id) ? spec.special_tokens[id] : undefined;
    if (token === undefined) {
      throw new ModelError(
        `The template uses ${JSON.stringify(id)}, which is not among its special tokens.`,
        {
          file,
          field: 'post_processor.special_tokens',
          hint: 'The tokenizer is damaged: download or copy it again.',
        },
      );
    }
    ids.push(...token.ids);
  }
  return ids;
}
