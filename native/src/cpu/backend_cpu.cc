// Each operation: hand over to the kernels or to oneDNN.
#include "backend_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "host_memory.h"
#include "linear_logprob.h"
#include "matmul.h"
#include "preference.h"
#include "random.h"
#include "scratch.h"

namespace sralign::cpu {

// ---- memory --------------------------------------------------------------------------------------------
void* CpuBackend::allocate(size_t bytes) { return allocateHostMemory(bytes); }
void CpuBackend::release(void* data, size_t) { freeHostMemory(data); }
Workspace CpuBackend::workspace() const { return scratchInUse(); }
void CpuBackend::copyFromHost(void* device, const void* host, size_t bytes) {
  std::memcpy(device, host, bytes);
}
void CpuBackend::copyToHost(void* host, const void* device, size_t bytes) {
  std::memcpy(host, device, bytes);
}
void CpuBackend::copy(void* target, const void* source, size_t bytes) { std::memmove(target, source, bytes); }
void CpuBackend::zero(void* device, size_t bytes) {
  constexpr size_t kChunk = size_t{1} << 20;
  const auto chunks = static_cast<int64_t>((bytes + kChunk - 1) / kChunk);
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (int64_t i = 0; i < chunks; ++i) {
    const size_t start = static_cast<size_t>(i) * kChunk;
    std::memset(static_cast<char*>(device) + start, 0, std::min(kChunk, bytes - start));
  }
}

// ---- embedding -----------------------------------------------------------------------------------------
void CpuBackend::embedding(const EmbeddingArgs& args) { kernels_.embedding(args); }

void CpuBackend::embeddingBackward(const EmbeddingBackwardArgs& args) { kernels_.embeddingBackward(args); }

// ---- linear --------------------------------------------------------------------------------------------
void CpuBackend::linear(const LinearArgs& args) {
  MatmulArgs product = productOf(args);
  // A bf16 output must be rounded once, after the bias; an f32 one can start from it.
  if (args.bias && args.out.dtype == DType::f32) {
    kernels_.biasFill(args.bias, args.out);
    product.beta = 1;
    product.bias = nullptr;
  }
  matmul(product);
}

void CpuBackend::linearBackwardInput(const LinearBackwardInputArgs& args) { matmul(productOf(args)); }

void CpuBackend::linearBackwardWeight(const LinearBackwardWeightArgs& args) {
  matmul(productOf(args));
  if (args.dBias) kernels_.biasBackward(args.dOut, args.dBias);
}

// ---- normalisation and activations ---------------------------------------------------------------------
void CpuBackend::layerNorm(const LayerNormArgs& args) { kernels_.layerNorm(args); }
void CpuBackend::layerNormBackward(const LayerNormBackwardArgs& args) { kernels_.layerNormBackward(args); }
void CpuBackend::rmsNorm(const RmsNormArgs& args) { kernels_.rmsNorm(args); }
void CpuBackend::rmsNormBackward(const RmsNormBackwardArgs& args) { kernels_.rmsNormBackward(args); }
void CpuBackend::gelu(const GeluArgs& args) { kernels_.gelu(args); }
void CpuBackend::geluBackward(const GeluBackwardArgs& args) { kernels_.geluBackward(args); }
void CpuBackend::swiglu(const SwigluArgs& args) { kernels_.swiglu(args); }
void CpuBackend::swigluBackward(const SwigluBackwardArgs& args) { kernels_.swigluBackward(args); }

// ---- attention -----------------------------------------------------------------------------------------
void CpuBackend::rotary(const RotaryArgs& args) { kernels_.rotary(args); }

void CpuBackend::attention(const AttentionArgs& args) { kernels_.attention(args); }

void CpuBackend::attentionBackward(const AttentionBackwardArgs& args) { kernels_.attentionBackward(args); }

void CpuBackend::attentionCached(const AttentionCachedArgs& args) { kernels_.attentionCached(args); }

// ---- elementwise ---------------------------------------------------------------------------------------
void CpuBackend::add(const AddArgs& args) { kernels_.add(args); }
void CpuBackend::cast(const CastArgs& args) { kernels_.cast(args); }
void CpuBackend::scale(const ScaleArgs& args) { kernels_.scale(args); }

// ---- log-probabilities ---------------------------------------------------------------------------------
void CpuBackend::linearLogprob(const LinearLogprobArgs& args) { cpu::linearLogprob(kernels_, args); }

void CpuBackend::linearLogprobBackward(const LinearLogprobBackwardArgs& args) {
  cpu::linearLogprobBackward(kernels_, args);
}

void CpuBackend::logprobGather(const LogprobGatherArgs& args) { kernels_.logprobGather(args); }

void CpuBackend::logprobGatherBackward(const LogprobGatherBackwardArgs& args) {
  kernels_.logprobGatherBackward(args);
}

void CpuBackend::sequenceSum(const SequenceSumArgs& args) { cpu::sequenceSum(args); }

void CpuBackend::sequenceSumBackward(const SequenceSumBackwardArgs& args) { cpu::sequenceSumBackward(args); }

// ---- preference loss -----------------------------------------------------------------------------------
void CpuBackend::preferenceLoss(const PreferenceLossArgs& args) { cpu::preferenceLoss(args); }

// ---- optimizers and initial weights --------------------------------------------------------------------
void CpuBackend::rmsprop(const RmspropArgs& args) { kernels_.rmsprop(args); }
void CpuBackend::adamw(const AdamwArgs& args) { kernels_.adamw(args); }

void CpuBackend::l2Norm(const L2NormArgs& args) {
  double total = 0;
  for (const TensorView& tensor : args.tensors) total += kernels_.sumOfSquares(tensor.f32(), tensor.numel());
  *args.norm.f32() = static_cast<float>(std::sqrt(total));
}

void CpuBackend::clipFactor(const ClipFactorArgs& args) {
  const double norm = *args.norm.f32();
  *args.factor.f32() = std::isfinite(norm) ? static_cast<float>(std::min(1.0, args.maxNorm / (norm + 1e-6)))
                                           : std::numeric_limits<float>::quiet_NaN();
}

void CpuBackend::fillNormal(const TensorView& out, double deviation, uint64_t seed) {
  cpu::fillNormal(out, deviation, seed);
}

}  // namespace sralign::cpu
