// The CPU backend.
#pragma once

#include "cpu_info.h"
#include "kernels.h"

namespace sralign::cpu {

class CpuBackend final : public Backend {
 public:
  // Throws EngineError where SRALIGN_CPU_KERNELS asks for what the processor lacks.
  CpuBackend() : kernels_(selectKernels()) {}

  void* allocate(size_t bytes) override;
  void release(void* data, size_t bytes) override;
#ifdef __SANITIZE_ADDRESS__
  // The sanitizer sees an access beside a tensor only where that is a block of its own, of its own size.
  bool keepsBlocks() const override { return false; }
#else
  bool keepsBlocks() const override { return true; }
#endif
  bool isHost() const override { return true; }
  Workspace workspace() const override;
  void copyFromHost(void* device, const void* host, size_t bytes) override;
  void copyToHost(void* host, const void* device, size_t bytes) override;
  void copy(void* target, const void* source, size_t bytes) override;
  void zero(void* device, size_t bytes) override;
  void synchronize() override {}  // every call below is finished when it returns

  void embedding(const EmbeddingArgs&) override;
  void embeddingBackward(const EmbeddingBackwardArgs&) override;
  void linear(const LinearArgs&) override;
  void linearBackwardInput(const LinearBackwardInputArgs&) override;
  void linearBackwardWeight(const LinearBackwardWeightArgs&) override;
  void layerNorm(const LayerNormArgs&) override;
  void layerNormBackward(const LayerNormBackwardArgs&) override;
  void rmsNorm(const RmsNormArgs&) override;
  void rmsNormBackward(const RmsNormBackwardArgs&) override;
  void rotary(const RotaryArgs&) override;
  void attention(const AttentionArgs&) override;
  void attentionBackward(const AttentionBackwardArgs&) override;
  void attentionCached(const AttentionCachedArgs&) override;
  void gelu(const GeluArgs&) override;
  void geluBackward(const GeluBackwardArgs&) override;
  void swiglu(const SwigluArgs&) override;
  void swigluBackward(const SwigluBackwardArgs&) override;
  void add(const AddArgs&) override;
  void cast(const CastArgs&) override;
  void scale(const ScaleArgs&) override;
  void linearLogprob(const LinearLogprobArgs&) override;
  void linearLogprobBackward(const LinearLogprobBackwardArgs&) override;
  void logprobGather(const LogprobGatherArgs&) override;
  void logprobGatherBackward(const LogprobGatherBackwardArgs&) override;
  void sequenceSum(const SequenceSumArgs&) override;
  void sequenceSumBackward(const SequenceSumBackwardArgs&) override;
  void preferenceLoss(const PreferenceLossArgs&) override;
  void rmsprop(const RmspropArgs&) override;
  void adamw(const AdamwArgs&) override;
  void l2Norm(const L2NormArgs&) override;
  void clipFactor(const ClipFactorArgs&) override;
  void fillNormal(const TensorView& out, double deviation, uint64_t seed) override;

 private:
  const Kernels& kernels_;
};

}  // namespace sralign::cpu
