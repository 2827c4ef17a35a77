// Optimizer steps and the gradient norm. One parallel region walks all tensors of a model, so that its many
// small ones (biases, norms) do not each wait for all threads.
#include "../scratch.h"
#include "bf16.h"
#include "kernels_isa.h"

namespace sralign::cpu::SRALIGN_ISA {

namespace {

// Elements a thread takes at a time; the split does not depend on the number of threads.
constexpr int64_t kBlock = 16384;

struct Slice {
  float* parameter;
  const float* gradient;
  uint16_t* computeWeight;  // null: none
  int64_t count;
};

Slice sliceOf(const OptimizerTensors& tensors, size_t index, int64_t first) {
  const TensorView& parameter = tensors.parameters[index];
  const int64_t rest = parameter.numel() - first;
  uint16_t* computeWeight = nullptr;
  if (!tensors.computeWeights.empty() && tensors.computeWeights[index]) {
    computeWeight = tensors.computeWeights[index].bf16() + first;
  }
  return {parameter.f32() + first, tensors.gradients[index].f32() + first, computeWeight,
          rest < kBlock ? rest : kBlock};
}

// What gradients are multiplied by; NaN, which does not equal itself, says to leave everything as it is.
float gradientScaleOf(const OptimizerTensors& tensors) { return *tensors.gradientScale.f32(); }

void roundToBf16(const Slice& slice) {
  if (slice.computeWeight == nullptr) return;
  for (int64_t i = 0; i < slice.count; ++i) slice.computeWeight[i] = f32ToBf16(slice.parameter[i]);
}

}  // namespace

void rmsprop(const RmspropArgs& args) {
  const float scale = gradientScaleOf(args.tensors);
  if (scale != scale) return;
  const float learningRate = static_cast<float>(args.learningRate), alpha = static_cast<float>(args.alpha);
  const float rest = static_cast<float>(1 - args.alpha), epsilon = static_cast<float>(args.epsilon);
  const float weightDecay = static_cast<float>(args.weightDecay);
  const size_t count = args.tensors.parameters.size();
#pragma omp parallel
  for (size_t index = 0; index < count; ++index) {
    const int64_t elements = args.tensors.parameters[index].numel();
#pragma omp for schedule(static) nowait
    for (int64_t first = 0; first < elements; first += kBlock) {
      const Slice slice = sliceOf(args.tensors, index, first);
      float* p = slice.parameter;
      float* v = args.squareAverages[index].f32() + first;
#pragma omp simd
      for (int64_t i = 0; i < slice.count; ++i) {
        const float g = slice.gradient[i] * scale + weightDecay * p[i];
        v[i] = alpha * v[i] + rest * g * g;
        p[i] -= learningRate * g / (__builtin_sqrtf(v[i]) + epsilon);
      }
      roundToBf16(slice);
    }
  }
}

void adamw(const AdamwArgs& args) {
  const float scale = gradientScaleOf(args.tensors);
  if (scale != scale) return;
  const double correction1 = 1 - __builtin_pow(args.beta1, static_cast<double>(args.step));
  const double correction2 = 1 - __builtin_pow(args.beta2, static_cast<double>(args.step));
  const float keep = static_cast<float>(1 - args.learningRate * args.weightDecay);
  const float stepSize = static_cast<float>(args.learningRate / correction1);
  const float rootScale = static_cast<float>(1 / __builtin_sqrt(correction2));
  const float beta1 = static_cast<float>(args.beta1), rest1 = static_cast<float>(1 - args.beta1);
  const float beta2 = static_cast<float>(args.beta2), rest2 = static_cast<float>(1 - args.beta2);
  const float epsilon = static_cast<float>(args.epsilon);
  const size_t count = args.tensors.parameters.size();
#pragma omp parallel
  for (size_t index = 0; index < count; ++index) {
    const int64_t elements = args.tensors.parameters[index].numel();
#pragma omp for schedule(static) nowait
    for (int64_t first = 0; first < elements; first += kBlock) {
      const Slice slice = sliceOf(args.tensors, index, first);
      float* p = slice.parameter;
      float* m = args.firstMoments[index].f32() + first;
      float* v = args.secondMoments[index].f32() + first;
#pragma omp simd
      for (int64_t i = 0; i < slice.count; ++i) {
        const float g = slice.gradient[i] * scale;
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * g * g;
        p[i] = p[i] * keep - stepSize * m[i] / (__builtin_sqrtf(v[i]) * rootScale + epsilon);
      }
      roundToBf16(slice);
    }
  }
}

// A partial sum per block, added up in order: the same result for any number of threads.
double sumOfSquares(const float* values, int64_t count) {
  constexpr int64_t kLanes = 16;
  const int64_t blocks = (count + kBlock - 1) / kBlock;
  double* partial =
      static_cast<double*>(scratch(ScratchSlot::reduction, static_cast<size_t>(blocks) * sizeof(double)));
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const float* x = values + block * kBlock;
    const int64_t size = count - block * kBlock < kBlock ? count - block * kBlock : kBlock;
    double lanes[kLanes] = {};
    int64_t i = 0;
    for (; i + kLanes <= size; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const double value = x[i + lane];
        lanes[lane] += value * value;
      }
    }
    double sum = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
    for (; i < size; ++i) sum += static_cast<double>(x[i]) * x[i];
    partial[block] = sum;
  }
  double total = 0;
  for (int64_t block = 0; block < blocks; ++block) total += partial[block];
  return total;
}

}  // namespace sralign::cpu::SRALIGN_ISA
