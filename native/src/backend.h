// The one interface between sralign and a device. cpu/ implements it; a GPU backend implements the same
// header, and the same test cases run through both.
//
// Shapes: T = packed tokens, H = hidden size, K/N = inputs/outputs of a linear layer, V = vocabulary,
//         M = rows that meet the output matrix, R = response tokens (targets), B = pairs, S = segments.
// Types:  "f32|bf16" is the compute type of the step; parameters' gradients, the residual stream,
// normalisation
//         statistics and log-probs are always f32.
//
// Accumulation rule (the same for every operation):
//   gradients of PARAMETERS are added to what is there (dWeight +=);
//   gradients of ACTIVATIONS overwrite (dX =), unless the arguments say `accumulate`.
//
// Shapes and types are checked before a call gets here (native/lib), and so is the CONTENT of index tensors
// (token ids, rows, labels, segments: core/checks.h), from their copy in host memory.
//
// Operations follow each other in order, but a device may still be at work when a call returns; `copyToHost`
// and `synchronize` wait.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace sralign {

// ---- embedding -----------------------------------------------------------------------------------------
struct EmbeddingArgs {
  TensorView tokens;  // i32 [T], each in [0, V)
  TensorView table;   // f32|bf16 [V, H]
  TensorView out;     // f32 [T, H]
};
struct EmbeddingBackwardArgs {
  TensorView tokens;  // i32 [T]
  TensorView dOut;    // f32 [T, H]
  TensorView dTable;  // f32 [V, H], +=
};

// ---- linear: out = x weight^T + bias -------------------------------------------------------------------
struct LinearArgs {
  TensorView x;       // f32|bf16 [T, K]
  TensorView weight;  // same type [N, K]
  TensorView bias;    // f32 [N], optional
  TensorView out;     // f32|bf16 [T, N]
};
struct LinearBackwardInputArgs {
  TensorView dOut;          // f32|bf16 [T, N]
  TensorView weight;        // same type [N, K]
  TensorView dX;            // f32|bf16 [T, K]
  bool accumulate = false;  // only where dX is f32
};
struct LinearBackwardWeightArgs {
  TensorView dOut;     // f32|bf16 [T, N]
  TensorView x;        // same type [T, K]
  TensorView dWeight;  // f32 [N, K], +=
  TensorView dBias;    // f32 [N], +=, optional
};

// ---- normalisation over the last axis ------------------------------------------------------------------
struct LayerNormArgs {
  TensorView x;             // f32 [T, H]
  TensorView weight, bias;  // f32 [H]
  float epsilon = 1e-5f;
  TensorView out;         // f32|bf16 [T, H]
  TensorView mean, rstd;  // f32 [T]
};
struct LayerNormBackwardArgs {
  TensorView x, weight, mean, rstd;
  TensorView dOut;  // f32|bf16 [T, H]
  TensorView dX;    // f32 [T, H]
  bool accumulate = false;
  TensorView dWeight, dBias;  // f32 [H], +=
};
struct RmsNormArgs {
  TensorView x;       // f32 [T, H]
  TensorView weight;  // f32 [H]
  float epsilon = 1e-6f;
  TensorView out;   // f32|bf16 [T, H]
  TensorView rstd;  // f32 [T]
};
struct RmsNormBackwardArgs {
  TensorView x, weight, rstd;
  TensorView dOut;  // f32|bf16 [T, H]
  TensorView dX;    // f32 [T, H]
  bool accumulate = false;
  TensorView dWeight;  // f32 [H], +=
};

// ---- attention -----------------------------------------------------------------------------------------
// Queries, keys and values share one row of `qkv`, either per head (GPT-NeoX: q k v | q k v | ...) or
// in blocks (Llama: all q | all k | all v).
enum class QkvLayout : int32_t { interleaved = 0, blocked = 1 };
struct HeadShape {
  QkvLayout layout = QkvLayout::blocked;
  int64_t heads = 0, kvHeads = 0, headDim = 0;  // heads % kvHeads == 0; interleaved has kvHeads == heads
  int64_t rowWidth() const { return (heads + 2 * kvHeads) * headDim; }
  int64_t queryOffset(int64_t head) const {
    return layout == QkvLayout::interleaved ? head * 3 * headDim : head * headDim;
  }
  int64_t keyOffset(int64_t kvHead) const {
    return layout == QkvLayout::interleaved ? (kvHead * 3 + 1) * headDim : (heads + kvHead) * headDim;
  }
  int64_t valueOffset(int64_t kvHead) const {
    return layout == QkvLayout::interleaved ? (kvHead * 3 + 2) * headDim
                                            : (heads + kvHeads + kvHead) * headDim;
  }
};
// Rotates the first 2*Rh elements of every query and key head by the angle of its position, in place, pairing
// element i with i + Rh (the "rotate half" order of Hugging Face checkpoints).
struct RotaryArgs {
  TensorView qkv;        // f32|bf16 [T, rowWidth], in place
  TensorView positions;  // i32 [T], each in [0, P)
  TensorView cosines;    // f32 [P, Rh]
  TensorView sines;      // f32 [P, Rh]
  HeadShape heads;
  bool inverse = false;  // rotate back: the backward pass
};
// Packed attention over a forest of segments. Segment s covers tokens [start, start+length) and continues
// segment `parent` (-1: none). A query sees, causally, its own segment up to itself and the whole of every
// ancestor. A pair is x with the children y+ and y-; the augmented view puts p above all x. Segments are in
// the order of `start`, cover [0, T) without gaps, and a parent comes before its children. With `window` > 0
// a query at position i sees positions > i - window only (positions run on along a chain: root first). Scores
// are scaled by 1/sqrt(headDim). Memory is linear in T.
struct AttentionArgs {
  TensorView qkv;       // f32|bf16 [T, rowWidth], rotated
  TensorView segments;  // i32 [S, 3]: start, length, parent
  HeadShape heads;
  int64_t window = 0;
  TensorView out;        // f32|bf16 [T, heads*headDim]
  TensorView logSumExp;  // f32 [T, heads]
};
struct AttentionBackwardArgs {
  TensorView qkv, segments;
  HeadShape heads;
  int64_t window = 0;
  TensorView out, logSumExp;
  TensorView dOut;  // type of qkv [T, heads*headDim]
  TensorView dQkv;  // type of qkv [T, rowWidth], overwritten
};
// Generation: appends the keys and values of T new tokens to the cache at rows [start, start+T) and lets each
// new token see all rows up to its own.
struct AttentionCachedArgs {
  TensorView qkv;  // f32|bf16 [T, rowWidth], rotated
  HeadShape heads;
  int64_t window = 0;
  TensorView keyCache, valueCache;  // type of qkv [C, kvHeads*headDim], start + T <= C
  int64_t start = 0;
  TensorView out;  // type of qkv [T, heads*headDim]
};

// ---- activations ---------------------------------------------------------------------------------------
enum class GeluKind : int32_t { erf = 0, tanh = 1 };
struct GeluArgs {
  TensorView x, out;  // f32|bf16, same shape and type
  GeluKind kind = GeluKind::erf;
};
struct GeluBackwardArgs {
  TensorView x, dOut, dX;  // same shape and type; dX may be dOut
  GeluKind kind = GeluKind::erf;
};
struct SwigluArgs {
  TensorView gateUp;  // f32|bf16 [T, 2F]: gate | up
  TensorView out;     // same type [T, F] = silu(gate) * up
};
struct SwigluBackwardArgs {
  TensorView gateUp, dOut, dGateUp;
};

// ---- elementwise ---------------------------------------------------------------------------------------
struct AddArgs {   // out = a + b; out may be a
  TensorView a;    // f32
  TensorView b;    // f32|bf16
  TensorView out;  // f32
};
struct CastArgs {
  TensorView x, out;  // f32|bf16, same shape; bf16 rounds to nearest even
};
struct ScaleArgs {
  TensorView x;  // f32, in place
  float factor = 1;
};

// ---- log-probabilities ---------------------------------------------------------------------------------
// logps[i] = log softmax(hidden[rows[targetRows[i]]] weight^T)[labels[i]], panel by panel. Without
// `logits` the [M, V] logits never exist whole, and the backward computes each panel again. With
// `logits` the forward leaves them there and the backward takes them from there, overwriting them: for
// rows few enough that the memory does not matter.
struct LinearLogprobArgs {
  TensorView hidden;      // f32|bf16 [T, H]
  TensorView weight;      // same type [V, H]
  TensorView rows;        // i32 [M], distinct, each in [0, T)
  TensorView targetRows;  // i32 [R], non-decreasing, each in [0, M)
  TensorView labels;      // i32 [R], each in [0, V)
  TensorView logps;       // f32 [R]
  TensorView logSumExp;   // f32 [M]
  TensorView logits;      // f32 [M, V], optional
  // f32 [M, 3], optional: of softmax(logits) the entropy in nats, the mean logit, the highest log-probability
  TensorView statistics;
};
struct LinearLogprobBackwardArgs {
  TensorView hidden, weight, rows, targetRows, labels, logSumExp;
  TensorView dLogps;   // f32 [R]
  TensorView dHidden;  // type of hidden [T, H]; `rows` are overwritten, the others are left
  TensorView dWeight;  // f32 [V, H], +=
  TensorView logits;   // f32 [M, V] as the forward left it, optional; overwritten
};
// The same from logits that exist: logps[i] = logits[i][labels[i]] - logsumexp(logits[i]). A label of -1
// masks a row: log-prob 0, gradient 0.
struct LogprobGatherArgs {
  TensorView logits;     // f32|bf16 [R, V]; -inf allowed
  TensorView labels;     // i32 [R]
  TensorView logps;      // f32 [R]
  TensorView logSumExp;  // f32 [R]
};
struct LogprobGatherBackwardArgs {
  TensorView logits, labels, logSumExp;
  TensorView dLogps;   // f32 [R]
  TensorView dLogits;  // type of logits; may be logits
};
// sums[s] = sum of values[offsets[s] .. offsets[s+1]), accumulated in double.
struct SequenceSumArgs {
  TensorView values;   // f32 [R]
  TensorView offsets;  // i32 [Q+1], non-decreasing, first 0, last R
  TensorView sums;     // f32 [Q]
};
struct SequenceSumBackwardArgs {
  TensorView dSums, offsets, dValues;
};

// ---- preference loss -----------------------------------------------------------------------------------
// c = 2 columns (chosen, rejected); SFT has c = 1 (chosen). With `mean` every log-prob is first divided by
// its number of response tokens. Computed in double.
//
//   margin m = (policy - reference)[chosen] - (policy - reference)[rejected]
//   delta = beta * (the same, augmented); 0 without augmented log-probs
//
//   sft: -policy[chosen]
//   dpo: -(1-e) log s(beta m - lambda delta) - e log s(-(beta m - lambda delta))
//   ipo: (m - lambda delta - 1/(2 beta))^2
//
// dLogps = lossScale * d loss / d policy; no gradient flows through delta (paper eq. 12, 13 and 15).
enum class PreferenceMethod : int32_t { sft = 0, dpo = 1, ipo = 2 };
enum class LogpReduction : int32_t { sum = 0, mean = 1 };
struct PreferenceLossArgs {
  PreferenceMethod method = PreferenceMethod::dpo;
  LogpReduction reduction = LogpReduction::sum;
  double beta = 0.1, lambda = 0, labelSmoothing = 0, lossScale = 1;
  TensorView policy;                               // f32 [B, c]
  TensorView reference;                            // f32 [B, 2]; not for SFT
  TensorView augmentedPolicy, augmentedReference;  // f32 [B, 2], both or neither; not for SFT
  TensorView responseTokens;                       // i32 [B, c], each >= 1
  TensorView losses;                               // f32 [B] (not scaled)
  TensorView margins, deltas;                      // f32 [B]; not for SFT
  TensorView dLogps;                               // f32 [B, c]
};

// ---- optimizers ----------------------------------------------------------------------------------------
// All tensors of a model in one call. `gradientScale` multiplies every gradient first (the clipping
// factor); where it is NaN nothing is changed. `computeWeights` (empty, or one bf16 tensor per
// parameter, null entries allowed) receive the rounded result.
struct OptimizerTensors {
  std::vector<TensorView> parameters, gradients;  // f32
  std::vector<TensorView> computeWeights;         // bf16
  TensorView gradientScale;                       // f32 [1]
};
// v = alpha v + (1-alpha) g^2;  p -= lr g / (sqrt(v) + eps);  weight decay adds wd p to g
// (torch.optim.RMSprop)
struct RmspropArgs {
  OptimizerTensors tensors;
  std::vector<TensorView> squareAverages;
  double learningRate = 0, alpha = 0.99, epsilon = 1e-8, weightDecay = 0;
};
// torch.optim.AdamW: decoupled decay p *= 1 - lr wd, then the bias-corrected step; `step` counts from 1.
struct AdamwArgs {
  OptimizerTensors tensors;
  std::vector<TensorView> firstMoments, secondMoments;
  double learningRate = 0, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0;
  int64_t step = 1;
};
// norm = square root of the sum of the squares of all elements, accumulated in double
struct L2NormArgs {
  std::vector<TensorView> tensors;  // f32
  TensorView norm;                  // f32 [1]
};
// factor = min(1, maxNorm / (norm + 1e-6)) (torch.nn.utils.clip_grad_norm_); NaN where the norm is not finite
struct ClipFactorArgs {
  TensorView norm;  // f32 [1]
  double maxNorm = 0;
  TensorView factor;  // f32 [1]
};

// Working memory a backend keeps between calls for its own use.
struct Workspace {
  size_t bytes = 0;
  size_t largestBytes = 0;  // its largest single buffer
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual void* allocate(size_t bytes) = 0;  // 64-byte aligned, contents undefined; throws OutOfMemoryError
  // Whether core/caching_allocator.h is to keep released blocks and hand them out again; not where `allocate`
  // does.
  virtual bool keepsBlocks() const = 0;
  // Whether the host reads tensor memory directly.
  virtual bool isHost() const = 0;
  virtual void release(void* data, size_t bytes) = 0;
  virtual Workspace workspace() const = 0;
  virtual void copyFromHost(void* device, const void* host, size_t bytes) = 0;
  virtual void copyToHost(void* host, const void* device, size_t bytes) = 0;
  virtual void copy(void* target, const void* source, size_t bytes) = 0;  // on the device; may overlap
  virtual void zero(void* device, size_t bytes) = 0;
  virtual void synchronize() = 0;

  virtual void embedding(const EmbeddingArgs&) = 0;
  virtual void embeddingBackward(const EmbeddingBackwardArgs&) = 0;
  virtual void linear(const LinearArgs&) = 0;
  virtual void linearBackwardInput(const LinearBackwardInputArgs&) = 0;
  virtual void linearBackwardWeight(const LinearBackwardWeightArgs&) = 0;
  virtual void layerNorm(const LayerNormArgs&) = 0;
  virtual void layerNormBackward(const LayerNormBackwardArgs&) = 0;
  virtual void rmsNorm(const RmsNormArgs&) = 0;
  virtual void rmsNormBackward(const RmsNormBackwardArgs&) = 0;
  virtual void rotary(const RotaryArgs&) = 0;
  virtual void attention(const AttentionArgs&) = 0;
  virtual void attentionBackward(const AttentionBackwardArgs&) = 0;
  virtual void attentionCached(const AttentionCachedArgs&) = 0;
  virtual void gelu(const GeluArgs&) = 0;
  virtual void geluBackward(const GeluBackwardArgs&) = 0;
  virtual void swiglu(const SwigluArgs&) = 0;
  virtual void swigluBackward(const SwigluBackwardArgs&) = 0;
  virtual void add(const AddArgs&) = 0;
  virtual void cast(const CastArgs&) = 0;
  virtual void scale(const ScaleArgs&) = 0;
  virtual void linearLogprob(const LinearLogprobArgs&) = 0;
  virtual void linearLogprobBackward(const LinearLogprobBackwardArgs&) = 0;
  virtual void logprobGather(const LogprobGatherArgs&) = 0;
  virtual void logprobGatherBackward(const LogprobGatherBackwardArgs&) = 0;
  virtual void sequenceSum(const SequenceSumArgs&) = 0;
  virtual void sequenceSumBackward(const SequenceSumBackwardArgs&) = 0;
  virtual void preferenceLoss(const PreferenceLossArgs&) = 0;
  virtual void rmsprop(const RmspropArgs&) = 0;
  virtual void adamw(const AdamwArgs&) = 0;
  virtual void l2Norm(const L2NormArgs&) = 0;
  virtual void clipFactor(const ClipFactorArgs&) = 0;
  // Normal numbers of standard deviation `deviation` from a counter-based generator: the same for a seed on
  // every backend and thread count.
  virtual void fillNormal(const TensorView& out, double deviation, uint64_t seed) = 0;
};

}  // namespace sralign
