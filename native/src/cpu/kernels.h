// The CPU kernels that we vectorise ourselves. The sources in cpu/kernels/ are compiled once per instruction
// set (portable, AVX2+FMA, AVX-512), each time into a namespace of its own; at start-up the backend picks the
// best table the processor can run. Matrix products are not here: they go through oneDNN (cpu/matmul.h).
//
// Kernels get arguments that were checked (shapes in native/lib, index contents in cpu/backend_cpu.cc). They
// are deterministic for a fixed number of threads.
#pragma once

#include "../backend.h"

namespace sralign::cpu {

// One panel of the fused linear + log-prob: columns [firstColumn, firstColumn+columns) of the logits of rows
// [firstRow, firstRow+rowCount) of `rows`. A row's panels come in the order of their columns.
// Of a row of logits: what its statistics are made of, beside the log-sum-exp.
struct RowMoments {
  double weighted = 0;  // sum of exp(logit - highest) (logit - highest)
  double sum = 0;       // of the logits
};

struct LogprobPanelArgs {
  float* logits = nullptr;  // [rowCount, columns], `logitsStride` elements from row to row
  int64_t logitsStride = 0;
  int64_t firstRow = 0, rowCount = 0, firstColumn = 0, columns = 0;
  const int32_t* targetRows = nullptr;  // [R]
  const int32_t* labels = nullptr;      // [R]
  int64_t targetCount = 0;
  // Forward: what the panels so far give. The log-sum-exp of a row is highest + log(total).
  float* highest = nullptr;       // [M], -inf before the first panel
  double* total = nullptr;        // [M], 0 before the first panel: sum of exp(logit - highest)
  RowMoments* moments = nullptr;  // [M], or null where nobody asks for statistics
  float* logps = nullptr;         // [R]: receives the logit of a label that lies in this panel
  // Backward.
  const float* logSumExp = nullptr;  // [M]
  const float* dLogps = nullptr;     // [R]
  TensorView dLogits;                // f32|bf16 [rowCount, columns]; f32 may be `logits` itself
  int64_t dLogitsStride = 0;
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
  void (*logprobPanel)(const LogprobPanelArgs&);
  void (*logprobPanelBackward)(const LogprobPanelArgs&);
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
