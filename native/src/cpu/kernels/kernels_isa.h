// The functions of the Kernels table, declared once for the instruction set that is being compiled
// (SRALIGN_ISA is set by binding.gyp). Sources that include this must not instantiate std:: containers or
// other inline code shared between instruction sets: the linker keeps one copy of such a function, and it
// might keep the AVX-512 one.
#pragma once

#include "../kernels.h"

namespace sralign::cpu::SRALIGN_ISA {

void embedding(const EmbeddingArgs&);
void embeddingBackward(const EmbeddingBackwardArgs&);
void layerNorm(const LayerNormArgs&);
void layerNormBackward(const LayerNormBackwardArgs&);
void rmsNorm(const RmsNormArgs&);
void rmsNormBackward(const RmsNormBackwardArgs&);
void rotary(const RotaryArgs&);
void attention(const AttentionArgs&);
void attentionBackward(const AttentionBackwardArgs&);
void attentionCached(const AttentionCachedArgs&);
void gelu(const GeluArgs&);
void geluBackward(const GeluBackwardArgs&);
void swiglu(const SwigluArgs&);
void swigluBackward(const SwigluBackwardArgs&);
void add(const AddArgs&);
void cast(const CastArgs&);
void scale(const ScaleArgs&);
void biasFill(const TensorView& bias, const TensorView& out);
void biasBackward(const TensorView& dOut, const TensorView& dBias);
void logprobPanel(const LogprobPanelArgs&);
void logprobPanelBackward(const LogprobPanelArgs&);
void logprobGather(const LogprobGatherArgs&);
void logprobGatherBackward(const LogprobGatherBackwardArgs&);
void rmsprop(const RmspropArgs&);
void adamw(const AdamwArgs&);
double sumOfSquares(const float* values, int64_t count);

}  // namespace sralign::cpu::SRALIGN_ISA
