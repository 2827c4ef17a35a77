// The CPU kernels that we vectorise ourselves. The sources in cpu/kernels/ are compiled once per instruction
// set (portable, AVX2+FMA, AVX-512), each time into a namespace of its own; at start-up the backend picks the
// best table the processor can run. Matrix products are not here: they go through oneDNN (cpu/matmul.h).
//
// Kernels get arguments that were checked (shapes in native/lib, index contents in cpu/backend_cpu.cc). They
// are deterministic for a fixed number of threads.
#pragma once

#include "../backend.h"

namespace sralign::cpu {

// One chunk of the fused linear + log-prob: `logits` f32 [m, V] of rows [firstRow, firstRow+m) of `rows`.
struct LogprobChunkArgs {
  float* logits = nullptr;
  int64_t firstRow = 0, rowCount = 0, vocabulary = 0;
  const int32_t* targetRows = nullptr;  // [R], the range [firstTarget, lastTarget) belongs to this chunk
  const int32_t* labels = nullptr;
  int64_t firstTarget = 0, lastTarget = 0;
  float* logSumExp = nullptr;     // [M]: written forward, read backward
  float* logps = nullptr;         // [R], forward
  const float* dLogps = nullptr;  // [R], backward
  TensorView dLogits;             // f32|bf16 [m, V], backward; f32 may be `logits` itself
};

struct Kernels {
  const char* name;
  void (*embedding)(const EmbeddingArgs&);
  void (*embeddingBackward)(const EmbeddingBackwardArgs&);
  void (*layerNorm)(const LayerNormArgs&);
  void (*layerNormBackward)(const LayerNormBackwardArgs&);
  void (*rmsNorm)(const RmsNormArgs&);
  void (*rmsNormBackward)(const RmsNormBackwardArgs&);
  void (*rotary)(const RotaryArgs&);
  void (*attention)(const AttentionArgs&);
  void (*attentionBackward)(const AttentionBackwardArgs&);
  void (*attentionCached)(const AttentionCachedArgs&);
  void (*gelu)(const GeluArgs&);
  void (*geluBackward)(const GeluBackwardArgs&);
  void (*swiglu)(const SwigluArgs&);
  void (*swigluBackward)(const SwigluBackwardArgs&);
  void (*add)(const AddArgs&);
  void (*cast)(const CastArgs&);
  void (*scale)(const ScaleArgs&);
  void (*biasFill)(const TensorView& bias, const TensorView& out);  // out f32 [T, N] = bias in every row
  void (*biasBackward)(const TensorView& dOut,
                       const TensorView& dBias);  // dBias f32 [N] += column sums of dOut
  void (*logprobChunk)(const LogprobChunkArgs&);
  void (*logprobChunkBackward)(const LogprobChunkArgs&);
  void (*logprobGather)(const LogprobGatherArgs&);
  void (*logprobGatherBackward)(const LogprobGatherBackwardArgs&);
  void (*rmsprop)(const RmspropArgs&);
  void (*adamw)(const AdamwArgs&);
  double (*sumOfSquares)(const float* values, int64_t count);
};

extern const Kernels kPortableKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;

}  // namespace sralign::cpu
