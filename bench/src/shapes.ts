/** Model shapes that the benchmarks build with random weights, as Hugging Face configurations. */

const llama = { model_type: 'llama', hidden_act: 'silu', rms_norm_eps: 1e-5, rope_theta: 10_000 };
const neox = {
  model_type: 'gpt_neox',
  hidden_act: 'gelu',
  rotary_pct: 0.25,
  use_parallel_residual: true,
  vocab_size: 50_304,
};
const common = { max_position_embeddings: 2048, initializer_range: 0.02, tie_word_embeddings: false };

export const SHAPES = {
  'pythia-14m': {
    ...common,
    ...neox,
    hidden_size: 128,
    intermediate_size: 512,
    num_hidden_layers: 6,
    num_attention_heads: 4,
  },
  'pythia-70m': {
    ...common,
    ...neox,
    hidden_size: 512,
    intermediate_size: 2048,
    num_hidden_layers: 6,
    num_attention_heads: 8,
  },
  'llama-60m': {
    ...common,
    ...llama,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 8,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 32_000,
    tie_word_embeddings: true,
  },
} as const;

export type ShapeName = keyof typeof SHAPES;
