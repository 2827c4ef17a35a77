/**
 * What a model is, read from a Hugging Face `config.json` (transformers 4 and 5 spellings). Everything sralign does not
 * compute exactly is refused here, by name, rather than ignored.
 */
import type { HeadShape } from '@sralign/native';
import { ModelError } from '../errors.js';

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
  const rotary = fields.rotary(headDim, fields.optionalNumber('rotary_pct') ?? 0.25);
  return {
    modelType: 'gpt_neox',
    vocabularySize: fields.count('vocab_size'),
    hiddenSize,
    feedForwardSize: fields.count('intermediate_size'),
    layers: fields.count('num_hidden_layers'),
    heads: { layout: 'interleaved', heads, kvHeads: heads, headDim },
    rotary,
    maxPositions: fields.count('max_position_embeddings'),
    normEpsilon: fields.optionalNumber('layer_norm_eps') ?? 1e-5,
    activation: fields.choice('hidden_act', GELU_NAMES),
    parallelResidual: fields.flag('use_parallel_residual', true),
    attentionBias: fields.flag('attention_bias', true),
    mlpBias: true,
    tiedEmbeddings: fields.flag('tie_word_embeddings', false),
    window: 0,
    initializerRange: fields.optionalNumber('initializer_range') ?? 0.02,
  };
}

function llamaSpec(fields: ConfigFields, modelType: 'llama' | 'mistral'): ModelSpec {
  const hiddenSize = fields.count('hidden_size');
  const heads = fields.count('num_attention_heads');
  const kvHeads = fields.optionalNumber('num_key_value_heads') ?? heads;
  fields.divide('num_attention_heads', heads, 'num_key_value_heads', kvHeads);
  const headDim =
    fields.optionalNumber('head_dim') ??
    fields.divide('hidden_size', hiddenSize, 'num_attention_heads', heads);
  return {
    modelType,
    vocabularySize: fields.count('vocab_size'),
    hiddenSize,
    feedForwardSize: fields.count('intermediate_size'),
    layers: fields.count('num_hidden_layers'),
    heads: { layout: 'blocked', heads, kvHeads, headDim },
    rotary: fields.rotary(headDim, 1),
    maxPositions: fields.count('max_position_embeddings'),
    normEpsilon: fields.optionalNumber('rms_norm_eps') ?? 1e-6,
    activation: fields.choice('hidden_act', { silu: 'swiglu', swish: 'swiglu' } as const),
    parallelResidual: false,
    attentionBias: modelType === 'llama' && fields.flag('attention_bias', false),
    mlpBias: modelType === 'llama' && fields.flag('mlp_bias', false),
    tiedEmbeddings: fields.flag('tie_word_embeddings', false),
    window: modelType === 'mistral' ? (fields.optionalNumber('sliding_window') ?? 0) : 0,
    initializerRange: fields.optionalNumber('initializer_range') ?? 0.02,
  };
}

const GELU_NAMES = {
  gelu: 'gelu-erf',
  gelu_new: 'gelu-tanh',
  gelu_fast: 'gelu-tanh',
  gelu_pytorch_tanh: 'gelu-tanh',
} as const;

/** Typed access to the keys of a config.json, with errors that name the key. */
class ConfigFields {
  private readonly values: Record<string, unknown>;

  constructor(
    config: unknown,
    private readonly file: string,
  ) {
    if (typeof config !== 'object' || config === null || Array.isArray(config)) {
      throw new ModelError('The model configuration is not a JSON object.', { file });
    }
    this.values = config as Record<string, unknown>;
  }

  text(key: string): string {
    const value = this.values[key];
    if (typeof value !== 'string') this.fail(key, 'must be a string', value);
    return value;
  }

  optionalNumber(key: string, values = this.values): number | undefined {
    const value = values[key];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== 'number' || !Number.isFinite(value)) this.fail(key, 'must be a number', value);
    return value;
  }

  count(key: string): number {
    const value = this.values[key];
    if (typeof value !== 'number' || !Number.isInteger(value) || value <= 0) {
      this.fail(key, 'must be a positive integer', value);
    }
    return value;
  }

  flag(key: string, byDefault: boolean): boolean {
    const value = this.values[key] ?? byDefault;
    if (typeof value !== 'boolean') this.fail(key, 'must be true or false', value);
    return value;
  }

  choice<T>(key: string, choices: Readonly<Record<string, T>>): T {
    const name = this.text(key);
    if (!Object.hasOwn(choices, name)) {
      this.fail(key, `must be one of ${Object.keys(choices).join(', ')}`, name);
    }
    return choices[name]!;
  }

  divide(key: string, value: number, byKey: string, by: number): number {
    if (!Number.isInteger(by) || by <= 0 || value % by !== 0) {
      this.fail(key, `must be a multiple of ${byKey} (${by})`, value);
    }
    return value / by;
  }

  /** Rotary settings: `rope_parameters` (transformers 5), or `rope_theta`/`rotary_emb_base` and `rope_scaling`. */
  rotary(headDim: number, defaultFraction: number): RotarySpec {
    const nested = this.object('rope_parameters') ?? this.object('rope_scaling') ?? {};
    const theta =
      this.optionalNumber('rope_theta', nested) ??
      this.optionalNumber('rope_theta') ??
      this.optionalNumber('rotary_emb_base') ??
      10_000;
    const fraction = this.optionalNumber('partial_rotary_factor', nested) ?? defaultFraction;
    const dimensions = Math.floor(headDim * fraction);
    if (dimensions <= 0 || dimensions > headDim || dimensions % 2 !== 0) {
      this.fail('partial_rotary_factor', `must rotate an even part of a head of ${headDim}`, fraction);
    }
    const kind = nested.rope_type ?? nested.type ?? 'default';
    const number = (key: string): number =>
      this.optionalNumber(key, nested) ?? this.fail(key, `is needed by rope_type ${String(kind)}`, undefined);
    if (kind === 'default') return { theta, dimensions, llama3: null, linearFactor: 1 };
    if (kind === 'linear') return { theta, dimensions, llama3: null, linearFactor: number('factor') };
    if (kind === 'llama3') {
      const llama3 = {
        factor: number('factor'),
        lowFrequencyFactor: number('low_freq_factor'),
        highFrequencyFactor: number('high_freq_factor'),
        originalMaxPositions: number('original_max_position_embeddings'),
      };
      return { theta, dimensions, llama3, linearFactor: 1 };
    }
    return this.fail('rope_type', 'must be default, linear or llama3', kind);
  }

  private object(key: string): Record<string, unknown> | undefined {
    const value = this.values[key];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== 'object') this.fail(key, 'must be an object', value);
    return value as Record<string, unknown>;
  }

  private fail(key: string, requirement: string, value: unknown): never {
    const got = value === undefined ? 'it is missing' : `got ${JSON.stringify(value)}`;
    throw new ModelError(`${key} ${requirement}; ${got}.`, { file: this.file, field: key });
  }
}
