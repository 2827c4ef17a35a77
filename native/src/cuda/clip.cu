// The global gradient norm and the factor that clips it.
//   l2Norm:      norm = sqrt(sum over all elements x^2), accumulated in double
//   clipFactor:  factor = min(1, maxNorm / (norm + 1e-6)); NaN where the norm is not finite
//
// Launch: l2Norm a block of kChunkThreads threads per chunk of kChunk elements (tensor_list.cuh), then one
// block of kTotalThreads threads that adds the chunks' sums in a fixed order; clipFactor one thread. Shared
// memory: 256 bytes.
//
// Bytes, N elements: l2Norm 4 N. FLOPs: 2 N.
#include <cmath>

#include "ops.h"
#include "tensor_list.cuh"

namespace sralign::cuda {

namespace {

constexpr int kTotalThreads = 1024;
constexpr int kGroup = kGroupOf<float>;

struct NormTensor {
  const float* values;
  int64_t count;
  bool grouped;  // aligned to groups
};

template <int kCount>
__device__ __forceinline__ void addSquares(const float* address, double (&sums)[kGroup]) {
  float values[kCount];
  loadGroup(address, values);
#pragma unroll
  for (int i = 0; i < kCount; ++i) sums[i] += static_cast<double>(values[i]) * values[i];
}

// chunkSums: one per block
__global__ void __launch_bounds__(kChunkThreads)
    chunkSquaresKernel(TensorList<NormTensor> list, double* chunkSums) {
  SRALIGN_SHARED(double, partial, kWarp);
  const Chunk<NormTensor> chunk = chunkOfBlock(list);
  double sums[kGroup] = {};
  int64_t single = chunk.first;  // from here on one element at a time
  if (chunk.tensor.grouped) {
    single = chunk.end - chunk.end % kGroup;
#pragma unroll 4
    for (int64_t at = chunk.first + threadIdx.x * kGroup; at < single; at += kChunkThreads * kGroup) {
      addSquares<kGroup>(chunk.tensor.values + at, sums);
    }
  }
  for (int64_t at = single + threadIdx.x; at < chunk.end; at += kChunkThreads) {
    addSquares<1>(chunk.tensor.values + at, sums);
  }
  const double total = blockReduce((sums[0] + sums[1]) + (sums[2] + sums[3]), partial, 0.0, Sum{});
  if (threadIdx.x == 0) chunkSums[blockIdx.x] = total;
}

__global__ void __launch_bounds__(kTotalThreads)
    rootOfSumKernel(const double* __restrict__ chunkSums, int64_t chunks, float* norm) {
  SRALIGN_SHARED(double, partial, kWarp);
  double sum = 0;
#pragma unroll 4
  for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kTotalThreads) sum += chunkSums[chunk];
  const double total = blockReduce(sum, partial, 0.0, Sum{});
  if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(total));
}

__global__ void __launch_bounds__(kWarp) clipFactorKernel(const float* norm, double maxNorm, float* factor) {
  const double value = *norm, ratio = maxNorm / (value + 1e-6);
  *factor = fabs(value) < INFINITY ? static_cast<float>(ratio < 1 ? ratio : 1) : NAN;
}

}  // namespace

void l2Norm(Context& context, const L2NormArgs& args) {
  std::vector<NormTensor> tensors;
  for (const TensorView& tensor : args.tensors) {
    tensors.push_back({tensor.f32(), tensor.numel(), groupAligned<kGroup>(tensor.f32())});
  }
  const TensorList<NormTensor> list = uploadTensors(context, tensors);
  double* chunkSums = context.scratchOf<double>(ScratchSlot::reduction, std::max<int64_t>(1, list.chunks));
  launch(context, {.operation = "l2Norm", .grid = gridOf(list.chunks), .block = dim3(kChunkThreads)},
         chunkSquaresKernel, list, chunkSums);
  launch(context, {.operation = "l2Norm", .grid = dim3(1), .block = dim3(kTotalThreads)}, rootOfSumKernel,
         chunkSums, list.chunks, args.norm.f32());
}

void clipFactor(Context& context, const ClipFactorArgs& args) {
  launch(context, {.operation = "clipFactor", .grid = dim3(1), .block = dim3(1)}, clipFactorKernel,
         args.norm.f32(), args.maxNorm, args.factor.f32());
}

}  // namespace sralign::cuda
