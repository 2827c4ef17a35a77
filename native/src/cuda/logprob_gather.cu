// Log-probability of one label per row from logits that exist, [R, V]:
//   logSumExp_i = log sum_v exp(l_iv),  logp_i = l_i,label(i) - logSumExp_i
//   dl_iv = dlogp_i ([v = label(i)] - exp(l_iv - logSumExp_i))
// A label of -1 masks its row: 0 everywhere.
//
// Forward: grid (R, parts), 32 to 512 threads by the width of a part, 384 bytes of shared memory. One part, a
// whole row, where R rows fill the GPU; otherwise each part leaves maximum and sum, and a second kernel, a
// warp per row, puts them together. Backward: grid (R, V / 8192), 32 to 512 threads. Bytes with s bytes per
// logit: s R V + 12 R forward, 2 s R V + 12 R backward; R V exponentials each.
#include "logprob_panel.cuh"
#include "ops.h"

namespace sralign::cuda {

namespace {

constexpr int kFinishThreads = 128;

// Where the parts of a row leave their sums, [R, parts].
struct Parts {
  float* highest;
  double* total;
};

template <typename T>
__global__ void __launch_bounds__(kLogprobThreads)
    logprobGatherKernel(const T* __restrict__ logits, const int32_t* __restrict__ labels, int vocabulary,
                        int partWidth, Parts parts, float* __restrict__ logps,
                        float* __restrict__ logSumExp) {
  SRALIGN_SHARED(float, maxima, kWarp);
  SRALIGN_SHARED(double, totals, kWarp);
  const int64_t row = blockIdx.x;
  const int label = labels[row];
  const bool wholeRow = gridDim.y == 1;
  if (label < 0) {
    if (wholeRow && threadIdx.x == 0) logps[row] = logSumExp[row] = 0;
    return;
  }
  const int first = blockIdx.y * partWidth;
  const int count = vocabulary - first < partWidth ? vocabulary - first : partWidth;
  logits += row * vocabulary;
  const LogSum sum = sumOfRow<false>(logits + first, count, maxima, totals);
  if (threadIdx.x != 0) return;
  if (wholeRow) {
    logSumExp[row] = sum.logSumExp();
    logps[row] = toFloat(logits[label]) - sum.logSumExp();
  } else {
    parts.highest[row * gridDim.y + blockIdx.y] = sum.highest;
    parts.total[row * gridDim.y + blockIdx.y] = sum.total;
  }
}

template <typename T>
__global__ void __launch_bounds__(kFinishThreads)
    logprobGatherFinishKernel(const T* __restrict__ logits, const int32_t* __restrict__ labels, int64_t rows,
                              int vocabulary, Parts parts, int partCount, float* __restrict__ logps,
                              float* __restrict__ logSumExp) {
  const int64_t row = int64_t{blockIdx.x} * (kFinishThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int label = labels[row];
  float logp = 0, normalizer = 0;
  if (label >= 0) {
    normalizer =
        sumOfParts(parts.highest + row * partCount, parts.total + row * partCount, partCount).logSumExp();
    logp = toFloat(logits[row * vocabulary + label]) - normalizer;
  }
  if (threadIdx.x % kWarp != 0) return;
  logps[row] = logp;
  logSumExp[row] = normalizer;
}

template <typename T>
__global__ void __launch_bounds__(kLogprobThreads)
    logprobGatherBackwardKernel(const T* logits, const int32_t* __restrict__ labels,
                                const float* __restrict__ logSumExp, const float* __restrict__ dLogps,
                                int vocabulary, int partWidth, T* dLogits) {
  const int64_t row = blockIdx.x;
  const int first = blockIdx.y * partWidth;
  const int count = vocabulary - first < partWidth ? vocabulary - first : partWidth;
  logits += row * vocabulary + first;
  dLogits += row * vocabulary + first;
  if (labels[row] < 0) {
    mapRow(logits, dLogits, count, [](float) { return 0.0f; });
    return;
  }
  const float normalizer = logSumExp[row], dLogp = dLogps[row];
  const auto gradient = [&](float logit) { return softmaxGradient(logit, normalizer, dLogp); };
  const int label = labels[row] - first;
  const bool hasLabel = label >= 0 && label < count;
  float atLabel = 0;
  if (hasLabel) {
    atLabel = dLogp + gradient(toFloat(logits[label]));
    __syncthreads();  // before the gradient takes the place of the logit
  }
  mapRow(logits, dLogits, count, gradient);
  if (hasLabel) {
    __syncthreads();
    if (threadIdx.x == 0) dLogits[label] = fromFloat<T>(atLabel);
  }
}

template <typename T>
void forward(Context& context, const LogprobGatherArgs& args) {
  const int64_t rows = args.logits.shape[0], vocabulary = args.logits.shape[1];
  const auto* logits = static_cast<const T*>(args.logits.data);
  const RowParts split = partsForSum(context, rows, vocabulary);
  Parts parts{};
  if (split.count > 1) {
    parts.highest = context.scratchOf<float>(ScratchSlot::panelMaximum, rows * split.count);
    parts.total = context.scratchOf<double>(ScratchSlot::panelTotal, rows * split.count);
  }
  launch(context,
         {.operation = "logprobGather",
          .grid = dim3(static_cast<unsigned>(rows), static_cast<unsigned>(split.count)),
          .block = dim3(threadsFor(split.width, kSumPerThread<T>))},
         logprobGatherKernel<T>, logits, args.labels.i32(), vocabulary, split.width, parts, args.logps.f32(),
         args.logSumExp.f32());
  if (split.count == 1) return;
  launch(context,
         {.operation = "logprobGather",
          .grid = dim3(static_cast<unsigned>(ceilDiv(rows, kFinishThreads / kWarp))),
          .block = dim3(kFinishThreads)},
         logprobGatherFinishKernel<T>, logits, args.labels.i32(), rows, vocabulary, parts, split.count,
         args.logps.f32(), args.logSumExp.f32());
}

template <typename T>
void backward(Context& context, const LogprobGatherBackwardArgs& args) {
  const int64_t rows = args.logits.shape[0], vocabulary = args.logits.shape[1];
  const RowParts split = splitColumns(vocabulary, ceilDiv(vocabulary, kGradientColumns));
  launch(context,
         {.operation = "logprobGatherBackward",
          .grid = dim3(static_cast<unsigned>(rows), static_cast<unsigned>(split.count)),
          .block = dim3(threadsFor(split.width, kGradientPerThread<T>))},
         logprobGatherBackwardKernel<T>, static_cast<const T*>(args.logits.data), args.labels.i32(),
         args.logSumExp.f32(), args.dLogps.f32(), vocabulary, split.width,
         static_cast<T*>(args.dLogits.data));
}

}  // namespace

void logprobGather(Context& context, const LogprobGatherArgs& args) {
  args.logits.dtype == DType::bf16 ? forward<bf16>(context, args) : forward<float>(context, args);
}

void logprobGatherBackward(Context& context, const LogprobGatherBackwardArgs& args) {
  args.logits.dtype == DType::bf16 ? backward<bf16>(context, args) : backward<float>(context, args);
}

}  // namespace sralign::cuda
