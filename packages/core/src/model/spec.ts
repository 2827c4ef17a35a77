/**
 * What a model is, read from a Hugging Face `config.json` (transformers 4 and 5 spellings). Everything sralign does not
 * compute exactly is refused here, by name, rather than ignored.
 */
import type { HeadShape } from '@sralign/native';
import { ModelError } from '../errors.js';
import { ConfigFields } from './config-fields.js';
import { readRotary } from './rotary-config.js';

export type ModelType = 'gpt_neox' | 'llama' | 'mistral';

export interface RotarySpec {
  readonly theta: number;
  /** Rotated elements of each head (even); the rest pass through. */
  readonly dimensions: number;
  /** Llama 3 frequency scaling, or null. */
  readonly llama3: {
    readonly factor: number;
    readonly lowFrequencyFactor: number;
    readonly highFrequencyFactor: number;
    readonly originalMaxPositions: number;
  } | null;
  /** Linear position scaling; 1 is none. */
  readonly linearFactor: number;
}

export interface ModelSpec {
  readonly modelType: ModelType;
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly feedForwardSize: number;
  readonly layers: number;
  readonly heads: HeadShape;
  readonly rotary: RotarySpec;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  readonly activation: 'gelu-erf' | 'gelu-tanh' | 'swiglu';
  /** GPT-NeoX: attention and feed-forward both read the block's input. */
  readonly parallelResidual: boolean;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  readonly tiedEmbeddings: boolean;
  /** Sliding window in tokens; 0 is none. */
  readonly window: number;
  /** Standard deviation of randomly initialised matrices. */
  readonly initializerRange: number;
}

/**
 * Reads a parsed `config.json`.
 *
 * @param file path for messages
 * @throws ModelError for an unknown architecture, a missing or impossible field, or a feature that is not supported
 */
export function parseModelSpec(config: unknown, file: string): ModelSpec {
  const fields = new ConfigFields(config, file);
  refuseQuantized(fields);
  const modelType = fields.text('model_type');
  if (modelType === 'gpt_neox') return gptNeoxSpec(fields);
  if (modelType === 'llama' || modelType === 'mistral') return llamaSpec(fields, modelType);
  throw new ModelError(`The architecture "${modelType}" is not supported.`, {
    file,
    field: 'model_type',
    hint: 'sralign trains gpt_neox (Pythia), llama and mistral models.',
  });
}

function gptNeoxSpec(fields: ConfigFields): ModelSpec {
  const hiddenSize = fields.count('hidden_size');
  const heads = fields.count('num_attention_heads');
  const headDim = fields.divide('hidden_size', hiddenSize, 'num_attention_heads', heads);
  const maxPositions = fields.positions(2048);
  return {
    modelType: 'gpt_neox',
    vocabularySize: fields.count('vocab_size'),
    hiddenSize,
    feedForwardSize: fields.count('intermediate_size', 24_576),
    layers: fields.count('num_hidden_layers'),
    heads: { layout: 'interleaved', heads, kvHeads: heads, headDim },
    rotary: readRotary(fields, {
      headDim,
      maxPositions,
      thetaKey: 'rotary_emb_base',
      fraction: fields.positive('rotary_pct') ?? 0.25,
    }),
    maxPositions,
    normEpsilon: fields.positive('layer_norm_eps') ?? 1e-5,
    activation: fields.choice('hidden_act', GELU_NAMES, 'gelu'),
    parallelResidual: fields.flag('use_parallel_residual', true),
    attentionBias: fields.flag('attention_bias', true),
    mlpBias: true,
    tiedEmbeddings: fields.flag('tie_word_embeddings', false),
    window: 0,
    initializerRange: fields.positive('initializer_range') ?? 0.02,
  };
}

function llamaSpec(fields: ConfigFields, modelType: 'llama' | 'mistral'): ModelSpec {
  const mistral = modelType === 'mistral';
  const hiddenSize = fields.count('hidden_size');
  const heads = fields.count('num_attention_heads');
  const kvHeads = fields.optionalCount('num_key_value_heads', mistral ? 8 : null) ?? heads;
  fields.divide('num_attention_heads', heads, 'num_key_value_heads', kvHeads);
  const headDim =
    fields.optionalCount('head_dim', null) ??
    fields.divide('hidden_size', hiddenSize, 'num_attention_heads', heads);
  const maxPositions = fields.positions(mistral ? 131_072 : 2048);
  return {
    modelType,
    vocabularySize: fields.count('vocab_size'),
    hiddenSize,
    feedForwardSize: fields.count('intermediate_size', mistral ? 14_336 : 11_008),
    layers: fields.count('num_hidden_layers'),
    heads: { layout: 'blocked', heads, kvHeads, headDim },
    rotary: readRotary(fields, { headDim, maxPositions, thetaKey: 'rope_theta', fraction: null }),
    maxPositions,
    normEpsilon: fields.positive('rms_norm_eps') ?? 1e-6,
    activation: fields.choice('hidden_act', { silu: 'swiglu', swish: 'swiglu' } as const, 'silu'),
    parallelResidual: false,
    attentionBias: !mistral && fields.flag('attention_bias', false),
    mlpBias: !mistral && fields.flag('mlp_bias', false),
    tiedEmbeddings: fields.flag('tie_word_embeddings', false),
    window: mistral ? mistralWindow(fields) : 0,
    initializerRange: fields.positive('initializer_range') ?? 0.02,
  };
}

/** Tokens of the sliding window of every layer; 0 is none. */
function mistralWindow(fields: ConfigFields): number {
  const window = fields.optionalCount('sliding_window', 4096) ?? 0;
  const kinds = fields.get('layer_types');
  if (kinds === undefined || kinds === null) return window;
  const kind = Array.isArray(kinds) && new Set<unknown>(kinds).size === 1 ? kinds[0] : undefined;
  if (kind === 'full_attention') return 0;
  if (kind === 'sliding_attention') return window;
  return fields.fail(
    'layer_types',
    'must be the same for all layers, full_attention or sliding_attention',
    kinds,
  );
}

const GELU_NAMES = {
  gelu: 'gelu-erf',
  gelu_new: 'gelu-tanh',
  gelu_fast: 'gelu-tanh',
  gelu_pytorch_tanh: 'gelu-tanh',
} as const;

/** Weights stored in fewer bits need kernels of their own. */
function refuseQuantized(fields: ConfigFields): void {
  const quantization = fields.object('quantization_config');
  if (quantization === undefined) return;
  const method = String(quantization.quant_method ?? 'an unknown method');
  const bits = quantization.bits ?? (quantization.load_in_4bit ? 4 : quantization.load_in_8bit ? 8 : null);
  throw new ModelError(
    `The weights are quantized by ${QUANTIZERS[method] ?? method}${typeof bits === 'number' ? ` to ${bits} bits` : ''}.`,
    {
      file: fields.file,
      field: 'quantization_config',
      hint: 'sralign trains F32, F16 and BF16 weights: use the model that this one was made from.',
    },
  );
}

const QUANTIZERS: Readonly<Record<string, string>> = {
  gptq: 'GPTQ',
  awq: 'AWQ',
  bitsandbytes: 'bitsandbytes',
};
