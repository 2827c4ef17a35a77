// Each operation of backend.h goes to its file of ops.h; memory comes from the context.
#include "backend_cuda.h"

#include "ops.h"

namespace sralign::cuda {

// ---- memory --------------------------------------------------------------------------------------------

void* CudaBackend::allocate(size_t bytes) { return current().allocate(bytes); }

// Called from destructors. Where the device can't be selected any more it is lost, and the memory with it.
void CudaBackend::release(void* data, size_t bytes) {
  try {
    current().release(data, bytes);
  } catch (const EngineError&) {
  }
}

Workspace CudaBackend::workspace() const { return context_.scratchInUse(); }

void CudaBackend::copyFromHost(void* device, const void* host, size_t bytes) {
  current().copyFromHost(device, host, bytes);
}

void CudaBackend::copyToHost(void* host, const void* device, size_t bytes) {
  current().copyToHost(host, device, bytes);
}

// CUDA does not say what a copy between overlapping places does, so such a one takes a detour.
void CudaBackend::copy(void* target, const void* source, size_t bytes) {
  Context& context = current();
  const auto queue = [&](void* to, const void* from) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, context.stream()), "copy");
  };
  const auto a = reinterpret_cast<uintptr_t>(target), b = reinterpret_cast<uintptr_t>(source);
  if (a == b) return;
  if (a + bytes <= b || b + bytes <= a) {
    queue(target, source);
  } else {
    void* between = context.scratch(ScratchSlot::copy, bytes);
    queue(between, source);
    queue(target, between);
  }
}

void CudaBackend::zero(void* device, size_t bytes) {
  check(cudaMemsetAsync(device, 0, bytes, current().stream()), "zero");
}

void CudaBackend::synchronize() { current().synchronize(); }

// ---- operations ----------------------------------------------------------------------------------------

void CudaBackend::embedding(const EmbeddingArgs& args) { cuda::embedding(current(), args); }
void CudaBackend::embeddingBackward(const EmbeddingBackwardArgs& args) {
  cuda::embeddingBackward(current(), args);
}
void CudaBackend::linear(const LinearArgs& args) { cuda::linear(current(), args); }
void CudaBackend::linearBackwardInput(const LinearBackwardInputArgs& args) {
  cuda::linearBackwardInput(current(), args);
}
void CudaBackend::linearBackwardWeight(const LinearBackwardWeightArgs& args) {
  cuda::linearBackwardWeight(current(), args);
}
void CudaBackend::layerNorm(const LayerNormArgs& args) { cuda::layerNorm(current(), args); }
void CudaBackend::layerNormBackward(const LayerNormBackwardArgs& args) {
  cuda::layerNormBackward(current(), args);
}
void CudaBackend::rmsNorm(const RmsNormArgs& args) { cuda::rmsNorm(current(), args); }
void CudaBackend::rmsNormBackward(const RmsNormBackwardArgs& args) { cuda::rmsNormBackward(current(), args); }
void CudaBackend::rotary(const RotaryArgs& args) { cuda::rotary(current(), args); }
void CudaBackend::attention(const AttentionArgs& args) { cuda::attention(current(), args); }
void CudaBackend::attentionBackward(const AttentionBackwardArgs& args) {
  cuda::attentionBackward(current(), args);
}
void CudaBackend::attentionCached(const AttentionCachedArgs& args) { cuda::attentionCached(current(), args); }
void CudaBackend::gelu(const GeluArgs& args) { cuda::gelu(current(), args); }
void CudaBackend::geluBackward(const GeluBackwardArgs& args) { cuda::geluBackward(current(), args); }
void CudaBackend::swiglu(const SwigluArgs& args) { cuda::swiglu(current(), args); }
void CudaBackend::swigluBackward(const SwigluBackwardArgs& args) { cuda::swigluBackward(current(), args); }
void CudaBackend::add(const AddArgs& args) { cuda::add(current(), args); }
void CudaBackend::cast(const CastArgs& args) { cuda::cast(current(), args); }
void CudaBackend::scale(const ScaleArgs& args) { cuda::scale(current(), args); }
void CudaBackend::linearLogprob(const LinearLogprobArgs& args) { cuda::linearLogprob(current(), args); }
void CudaBackend::linearLogprobBackward(const LinearLogprobBackwardArgs& args) {
  cuda::linearLogprobBackward(current(), args);
}
void CudaBackend::logprobGather(const LogprobGatherArgs& args) { cuda::logprobGather(current(), args); }
void CudaBackend::logprobGatherBackward(const LogprobGatherBackwardArgs& args) {
  cuda::logprobGatherBackward(current(), args);
}
void CudaBackend::sequenceSum(const SequenceSumArgs& args) { cuda::sequenceSum(current(), args); }
void CudaBackend::sequenceSumBackward(const SequenceSumBackwardArgs& args) {
  cuda::sequenceSumBackward(current(), args);
}
void CudaBackend::preferenceLoss(const PreferenceLossArgs& args) { cuda::preferenceLoss(current(), args); }
void CudaBackend::rmsprop(const RmspropArgs& args) { cuda::rmsprop(current(), args); }
void CudaBackend::adamw(const AdamwArgs& args) { cuda::adamw(current(), args); }
void CudaBackend::l2Norm(const L2NormArgs& args) { cuda::l2Norm(current(), args); }
void CudaBackend::clipFactor(const ClipFactorArgs& args) { cuda::clipFactor(current(), args); }
void CudaBackend::fillNormal(const TensorView& out, double deviation, uint64_t seed) {
  cuda::fillNormal(current(), out, deviation, seed);
}

}  // namespace sralign::cuda
