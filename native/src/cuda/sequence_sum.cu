// Sums of log-probs by sequence, in double: sums_q = sum of values[offsets_q .. offsets_q+1), and
// dvalues_i = dsums_q for the sequence q of i. An empty sequence has the sum 0.
//
// Grid (Q), 128 threads, 32 bytes of shared memory. Sequences start anywhere and are a few hundred values
// long, which neighbouring threads read from neighbouring addresses: 16-byte accesses would gain nothing.
// Bytes: 4 R + 8 Q each way, R values in Q sequences.
#include "common.cuh"
#include "ops.h"

namespace sralign::cuda {

namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    sequenceSumKernel(const float* __restrict__ values, const int32_t* __restrict__ offsets,
                      float* __restrict__ sums) {
  SRALIGN_SHARED(double, partial, kThreads / kWarp);
  const int64_t sequence = blockIdx.x;
  const int64_t end = offsets[sequence + 1];
  double sum = 0;
  for (int64_t i = offsets[sequence] + threadIdx.x; i < end; i += kThreads) sum += values[i];
  sum = blockReduce(sum, partial, 0.0, Sum());
  if (threadIdx.x == 0) sums[sequence] = static_cast<float>(sum);
}

__global__ void __launch_bounds__(kThreads)
    sequenceSumBackwardKernel(const float* __restrict__ dSums, const int32_t* __restrict__ offsets,
                              float* __restrict__ dValues) {
  const int64_t sequence = blockIdx.x;
  const int64_t end = offsets[sequence + 1];
  const float dSum = dSums[sequence];
  for (int64_t i = offsets[sequence] + threadIdx.x; i < end; i += kThreads) dValues[i] = dSum;
}

}  // namespace

void sequenceSum(Context& context, const SequenceSumArgs& args) {
  launch(context,
         {.operation = "sequenceSum",
          .grid = dim3(static_cast<unsigned>(args.sums.shape[0])),
          .block = dim3(kThreads)},
         sequenceSumKernel, args.values.f32(), args.offsets.i32(), args.sums.f32());
}

void sequenceSumBackward(Context& context, const SequenceSumBackwardArgs& args) {
  launch(context,
         {.operation = "sequenceSumBackward",
          .grid = dim3(static_cast<unsigned>(args.dSums.shape[0])),
          .block = dim3(kThreads)},
         sequenceSumBackwardKernel, args.dSums.f32(), args.offsets.i32(), args.dValues.f32());
}

}  // namespace sralign::cuda
