// The operations of backend.h on a GPU, one .cu file each; backend_cuda.cc calls them. Arguments were checked
// (native/lib, core/checks.h). Each queues its work on the context's stream and returns without waiting.
#pragma once

#include "../core/matmul_args.h"
#include "context.h"

namespace sralign::cuda {

// matmul.cu
void matmul(Context&, const MatmulArgs&);
// linear.cu
void linear(Context&, const LinearArgs&);
void linearBackwardInput(Context&, const LinearBackwardInputArgs&);
void linearBackwardWeight(Context&, const LinearBackwardWeightArgs&);
// embedding.cu
void embedding(Context&, const EmbeddingArgs&);
void embeddingBackward(Context&, const EmbeddingBackwardArgs&);
// layer_norm.cu, rms_norm.cu
void layerNorm(Context&, const LayerNormArgs&);
void layerNormBackward(Context&, const LayerNormBackwardArgs&);
void rmsNorm(Context&, const RmsNormArgs&);
void rmsNormBackward(Context&, const RmsNormBackwardArgs&);
// rotary.cu
void rotary(Context&, const RotaryArgs&);
// attention.cu, attention_backward.cu, attention_cached.cu
void attention(Context&, const AttentionArgs&);
void attentionBackward(Context&, const AttentionBackwardArgs&);
void attentionCached(Context&, const AttentionCachedArgs&);
// gelu.cu, swiglu.cu
void gelu(Context&, const GeluArgs&);
void geluBackward(Context&, const GeluBackwardArgs&);
void swiglu(Context&, const SwigluArgs&);
void swigluBackward(Context&, const SwigluBackwardArgs&);
// elementwise.cu
void add(Context&, const AddArgs&);
void cast(Context&, const CastArgs&);
void scale(Context&, const ScaleArgs&);
// linear_logprob.cu
void linearLogprob(Context&, const LinearLogprobArgs&);
void linearLogprobBackward(Context&, const LinearLogprobBackwardArgs&);
// logprob_gather.cu
void logprobGather(Context&, const LogprobGatherArgs&);
void logprobGatherBackward(Context&, const LogprobGatherBackwardArgs&);
// sequence_sum.cu
void sequenceSum(Context&, const SequenceSumArgs&);
void sequenceSumBackward(Context&, const SequenceSumBackwardArgs&);
// preference.cu
void preferenceLoss(Context&, const PreferenceLossArgs&);
// optimizer.cu, clip.cu
void rmsprop(Context&, const RmspropArgs&);
void adamw(Context&, const AdamwArgs&);
void l2Norm(Context&, const L2NormArgs&);
void clipFactor(Context&, const ClipFactorArgs&);
// random.cu
void fillNormal(Context&, const TensorView& out, double deviation, uint64_t seed);

}  // namespace sralign::cuda
