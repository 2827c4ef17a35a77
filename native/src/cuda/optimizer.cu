// Optimizer steps for all tensors of a model, as torch.optim.RMSprop and torch.optim.AdamW compute them, in
// f32, with the bf16 compute weights rounded in the same pass. gs: gradientScale, read on the device; where
// it is NaN, nothing is changed.
//   rmsprop:  g = gs g + wd p;  v = alpha v + (1 - alpha) g^2;  p -= lr g / (sqrt(v) + eps)
//   adamw:    g = gs g;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//             p = (1 - lr wd) p - lr / (1 - b1^step) m / (sqrt(v / (1 - b2^step)) + eps)
//
// Launch: a block of kChunkThreads threads per chunk of kChunk elements (tensor_list.cuh), no shared memory.
//
// Bytes, N elements: rmsprop 20 N, adamw 28 N, and 2 N with compute weights. FLOPs: 10 N and 13 N.
#include <cmath>

#include "ops.h"
#include "tensor_list.cuh"

namespace sralign::cuda {

namespace {

struct OptimizerTensor {
  float* parameter;
  const float* gradient;
  float *firstMoment, *secondMoment;  // firstMoment: AdamW only
  bf16* computeWeight;                // null: none
  int64_t count;
  bool grouped;  // all aligned to groups
};

constexpr int kGroup = kGroupOf<float>;

struct Rmsprop {
  static constexpr bool kFirstMoment = false;
  float learningRate, alpha, rest, epsilon, weightDecay;

  explicit Rmsprop(const RmspropArgs& args)
      : learningRate(static_cast<float>(args.learningRate)),
        alpha(static_cast<float>(args.alpha)),
        rest(static_cast<float>(1 - args.alpha)),
        epsilon(static_cast<float>(args.epsilon)),
        weightDecay(static_cast<float>(args.weightDecay)) {}

  __device__ __forceinline__ void step(float g, float& p, float&, float& v) const {
    g += weightDecay * p;
    v = alpha * v + rest * g * g;
    p -= learningRate * g / (sqrtf(v) + epsilon);
  }
};

struct Adamw {
  static constexpr bool kFirstMoment = true;
  float keep, stepSize, rootScale, beta1, rest1, beta2, rest2, epsilon;

  explicit Adamw(const AdamwArgs& args)
      : keep(static_cast<float>(1 - args.learningRate * args.weightDecay)),
        stepSize(static_cast<float>(args.learningRate / correction(args.beta1, args.step))),
        rootScale(static_cast<float>(1 / std::sqrt(correction(args.beta2, args.step)))),
        beta1(static_cast<float>(args.beta1)),
        rest1(static_cast<float>(1 - args.beta1)),
        beta2(static_cast<float>(args.beta2)),
        rest2(static_cast<float>(1 - args.beta2)),
        epsilon(static_cast<float>(args.epsilon)) {}

  static double correction(double beta, int64_t step) {
    return 1 - std::pow(beta, static_cast<double>(step));
  }

  __device__ __forceinline__ void step(float g, float& p, float& m, float& v) const {
    m = beta1 * m + rest1 * g;
    v = beta2 * v + rest2 * g * g;
    p = p * keep - stepSize * m / (sqrtf(v) * rootScale + epsilon);
  }
};

template <int kCount, typename Rule>
__device__ __forceinline__ void stepGroup(const Rule& rule, const OptimizerTensor& tensor, int64_t at,
                                          float scale) {
  float p[kCount], g[kCount], m[kCount] = {}, v[kCount];
  loadGroup(tensor.parameter + at, p);
  loadGroup(tensor.gradient + at, g);
  if constexpr (Rule::kFirstMoment) loadGroup(tensor.firstMoment + at, m);
  loadGroup(tensor.secondMoment + at, v);
#pragma unroll
  for (int i = 0; i < kCount; ++i) rule.step(g[i] * scale, p[i], m[i], v[i]);
  storeGroup(tensor.parameter + at, p);
  if constexpr (Rule::kFirstMoment) storeGroup(tensor.firstMoment + at, m);
  storeGroup(tensor.secondMoment + at, v);
  if (tensor.computeWeight != nullptr) storeGroup(tensor.computeWeight + at, p);
}

template <typename Rule>
__global__ void __launch_bounds__(kChunkThreads)
    optimizerKernel(TensorList<OptimizerTensor> list, const float* __restrict__ gradientScale, Rule rule) {
  const float scale = *gradientScale;
  if (scale != scale) return;
  const Chunk<OptimizerTensor> chunk = chunkOfBlock(list);
  int64_t single = chunk.first;  // from here on one element at a time
  if (chunk.tensor.grouped) {
    single = chunk.end - chunk.end % kGroup;
    for (int64_t at = chunk.first + threadIdx.x * kGroup; at < single; at += kChunkThreads * kGroup) {
      stepGroup<kGroup>(rule, chunk.tensor, at, scale);
    }
  }
  for (int64_t at = single + threadIdx.x; at < chunk.end; at += kChunkThreads) {
    stepGroup<1>(rule, chunk.tensor, at, scale);
  }
}

// The moments' lists are as long as the parameters'; RMSprop has no first one.
std::vector<OptimizerTensor> tensorsOf(const OptimizerTensors& tensors,
                                       const std::vector<TensorView>* firstMoments,
                                       const std::vector<TensorView>& secondMoments) {
  std::vector<OptimizerTensor> list;
  for (size_t i = 0; i < tensors.parameters.size(); ++i) {
    float* parameter = tensors.parameters[i].f32();
    const float* gradient = tensors.gradients[i].f32();
    float* firstMoment = firstMoments == nullptr ? nullptr : (*firstMoments)[i].f32();
    float* secondMoment = secondMoments[i].f32();
    bf16* computeWeight =
        tensors.computeWeights.empty() ? nullptr : elementsOf<bf16>(tensors.computeWeights[i]);
    list.push_back({parameter, gradient, firstMoment, secondMoment, computeWeight,
                    tensors.parameters[i].numel(),
                    groupAligned<kGroup>(parameter, gradient, firstMoment, secondMoment, computeWeight)});
  }
  return list;
}

template <typename Rule>
void optimizerStep(Context& context, const char* operation, const std::vector<OptimizerTensor>& tensors,
                   const TensorView& gradientScale, const Rule& rule) {
  const TensorList<OptimizerTensor> list = uploadTensors(context, tensors);
  launch(context, {.operation = operation, .grid = gridOf(list.chunks), .block = dim3(kChunkThreads)},
         optimizerKernel<Rule>, list, gradientScale.f32(), rule);
}

}  // namespace

void rmsprop(Context& context, const RmspropArgs& args) {
  optimizerStep(context, "rmsprop", tensorsOf(args.tensors, nullptr, args.squareAverages),
                args.tensors.gradientScale, Rmsprop(args));
}

void adamw(Context& context, const AdamwArgs& args) {
  optimizerStep(context, "adamw", tensorsOf(args.tensors, &args.firstMoments, args.secondMoments),
                args.tensors.gradientScale, Adamw(args));
}

}  // namespace sralign::cuda
