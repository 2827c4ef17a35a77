/** The components that encode a text which goes on from another: those of the tokenizer, but no space is put in front. */
import type { NormalizerSpec, PreTokenizerSpec, TokenizerSpec } from './schema.js';

export function withoutPrefixSpace(spec: TokenizerSpec): TokenizerSpec {
  return {
    ...spec,
    normalizer: spec.normalizer && normalizerWithout(spec.normalizer),
    pre_tokenizer: spec.pre_tokenizer && preTokenizerWithout(spec.pre_tokenizer),
  };
}

function normalizerWithout(spec: NormalizerSpec): NormalizerSpec {
  if (spec.type === 'Prepend') return { ...spec, prepend: '' };
  if (spec.type === 'Sequence') return { ...spec, normalizers: spec.normalizers.map(normalizerWithout) };
  return spec;
}

function preTokenizerWithout(spec: PreTokenizerSpec): PreTokenizerSpec {
  if (spec.type === 'Metaspace') return { ...spec, prepend_scheme: 'never' };
  if (spec.type === 'ByteLevel') return { ...spec, add_prefix_space: false };
  if (spec.type === 'Sequence')
    return { ...spec, pretokenizers: spec.pretokenizers.map(preTokenizerWithout) };
  return spec;
}
