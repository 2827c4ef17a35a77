// What logprob_gather.cu and linear_logprob.cu share: log-sum-exp and softmax gradient of a part of a row of
// logits, by one block, and the way from row to row. Each element is read once, 16 bytes at a time wherever
// the addresses allow it. Columns are int: a label is an int32.
#pragma once

#include <algorithm>

#include "common.cuh"

namespace sralign::cuda {

// ---- shares of the work --------------------------------------------------------------------------------

constexpr int kLogprobThreads = 512;  // per block, at most

// Threads for a block whose threads take `perThread` of the columns at a time.
inline unsigned threadsFor(int64_t columns, int64_t perThread) {
  return static_cast<unsigned>(
      std::clamp<int64_t>(ceilDiv(columns, perThread * kWarp) * kWarp, kWarp, kLogprobThreads));
}

// A row in `count` parts of `width` columns, the last one shorter.
struct RowParts {
  int64_t count, width;
};

// Widths are multiples of the elements of a 16-byte access, so that all parts of a row are aligned alike.
inline RowParts splitColumns(int64_t columns, int64_t count) {
  const int64_t width = ceilDiv(ceilDiv(columns, count), kVector<bf16>) * kVector<bf16>;
  return {ceilDiv(columns, width), width};
}

// Two blocks for every multiprocessor where there are fewer rows than that, but no block for less than 4096
// columns: it would have more to do for its reduction than for its columns.
inline RowParts partsForSum(const Context& context, int64_t rows, int64_t columns) {
  const int64_t wanted = ceilDiv(2 * context.multiprocessors(), rows);
  return splitColumns(columns, std::min(wanted, ceilDiv(columns, 4096)));
}

// ---- from row to row -----------------------------------------------------------------------------------

// A row cut where 16-byte accesses can begin and end: single elements [0, head) and [tail, count), vectors
// between.
template <typename T>
struct AlignedRow {
  int head, vectors, tail;

  __device__ __forceinline__ AlignedRow(const T* row, int count) {
    const int past = static_cast<int>(reinterpret_cast<uintptr_t>(row) / sizeof(T) % kVector<T>);
    head = past == 0 ? 0 : kVector<T> - past;
    if (head > count) head = count;
    vectors = (count - head) / kVector<T>;
    tail = head + vectors * kVector<T>;
  }
};

// Takes kVectors times 16 bytes of D, `stride` times 16 bytes apart. All loads come before the first store,
// because the compiler cannot know that the stores do not change what is still to be loaded.
template <int kVectors, typename T, typename D, typename Function>
__device__ __forceinline__ void mapVectors(const T* from, D* to, int64_t stride, Function function) {
  constexpr int kLoads = kVector<D> / kVector<T>;
  Vector<T> loaded[kVectors][kLoads];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
#pragma unroll
    for (int l = 0; l < kLoads; ++l) {
      loaded[v][l] = Vector<T>::load(from + v * stride * kVector<D> + l * kVector<T>);
    }
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    Vector<D> result;
#pragma unroll
    for (int i = 0; i < kVector<D>; ++i) {
      result.values[i] = fromFloat<D>(function(toFloat(loaded[v][i / kVector<T>].values[i % kVector<T>])));
    }
    result.store(to + v * stride * kVector<D>);
  }
}

// to[i] = function(from[i]) for i < count, by the whole block; `to` may be `from` where the types are the
// same.
template <typename T, typename D, typename Function>
__device__ __forceinline__ void mapRow(const T* from, D* to, int count, Function function) {
  static_assert(sizeof(T) >= sizeof(D), "16 bytes of D are one or more times 16 bytes of T");
  const int thread = threadIdx.x, threads = blockDim.x;
  AlignedRow<D> row(to, count);
  // Rows that no head makes aligned together are taken element by element.
  if (reinterpret_cast<uintptr_t>(from + row.head) % 16 != 0) {
    row.head = row.tail = count;
    row.vectors = 0;
  }
  for (int i = thread; i < row.head; i += threads) to[i] = fromFloat<D>(function(toFloat(from[i])));
  for (int i = row.tail + thread; i < count; i += threads) to[i] = fromFloat<D>(function(toFloat(from[i])));
  from += row.head;
  to += row.head;
  int vector = thread;
  for (; vector + threads < row.vectors; vector += 2 * threads) {
    mapVectors<2>(from + int64_t{vector} * kVector<D>, to + int64_t{vector} * kVector<D>, threads, function);
  }
  if (vector < row.vectors) {
    mapVectors<1>(from + int64_t{vector} * kVector<D>, to + int64_t{vector} * kVector<D>, threads, function);
  }
}

// ---- log-sum-exp ---------------------------------------------------------------------------------------

// log-sum-exp = highest + log(total), with total = sum of exp(logit - highest). Without any finite logit
// `highest` is -inf and the sum is of exp(logit - 0): 0, or NaN where a logit is NaN.
struct LogSum {
  float highest;
  double total;
  // Where they are asked for: the sum of exp(logit - highest) (logit - highest), and of the logits.
  double weighted, sum;

  __device__ __forceinline__ float logSumExp() const { return static_cast<float>(highest + log(total)); }
};

__device__ __forceinline__ float shiftFor(float highest) { return highest == -INFINITY ? 0.0f : highest; }

// exp is 0 far below this, where -inf times it must be too.
constexpr float kLowest = -100;

// The sum of one thread. Groups of elements are summed first and added then, so that in f32 the error grows
// with the number of groups only.
template <bool kMoments>
struct ThreadSum {
  float highest = -INFINITY, total = 0;
  float weighted = 0, sum = 0;  // as in LogSum

  template <int kCount>
  __device__ __forceinline__ void add(const float (&logits)[kCount]) {
    float groupHighest = logits[0];
#pragma unroll
    for (int i = 1; i < kCount; ++i) groupHighest = fmaxf(groupHighest, logits[i]);
    if (groupHighest > highest) {
      const float factor = expf(highest - groupHighest);
      if (kMoments && total != 0) weighted = factor * (weighted + (highest - groupHighest) * total);
      total *= factor;
      highest = groupHighest;
    }
    const float shift = shiftFor(highest);
    float group = 0, groupWeighted = 0, groupSum = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float exponential = expf(logits[i] - shift);
      group += exponential;
      if (!kMoments) continue;
      groupWeighted += exponential * fmaxf(logits[i] - shift, kLowest);
      groupSum += logits[i];
    }
    total += group;
    weighted += groupWeighted;
    sum += groupSum;
  }

  // kVectors times 16 bytes, `stride` times 16 bytes apart.
  template <int kVectors, typename T>
  __device__ __forceinline__ void addVectors(const T* logits, int64_t stride) {
    Vector<T> loaded[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) loaded[v] = Vector<T>::load(logits + v * stride * kVector<T>);
    float values[kVectors * kVector<T>];
#pragma unroll
    for (int i = 0; i < kVectors * kVector<T>; ++i) {
      values[i] = toFloat(loaded[i / kVector<T>].values[i % kVector<T>]);
    }
    add(values);
  }
};

constexpr int kSumVectors = 4;  // in flight per thread
template <typename T>
constexpr int kSumPerThread = kSumVectors* kVector<T>;

// Sums over `count` logits by the whole block; every thread gets the result. `maxima` and `totals` hold a
// value per warp. Threads meet in a fixed order, in double.
template <bool kMoments, typename T>
__device__ __forceinline__ LogSum sumOfRow(const T* logits, int count, float* maxima, double* totals) {
  const int thread = threadIdx.x, threads = blockDim.x;
  const AlignedRow<T> row(logits, count);
  ThreadSum<kMoments> sum;
  // Head and tail are shorter than a vector: no thread has two of their elements.
  if (thread < row.head) sum.add({toFloat(logits[thread])});
  if (thread < count - row.tail) sum.add({toFloat(logits[row.tail + thread])});
  logits += row.head;
  int vector = thread;
  for (; vector + (kSumVectors - 1) * threads < row.vectors; vector += kSumVectors * threads) {
    sum.template addVectors<kSumVectors>(logits + int64_t{vector} * kVector<T>, threads);
  }
  for (; vector < row.vectors; vector += threads) {
    sum.template addVectors<1>(logits + int64_t{vector} * kVector<T>, threads);
  }
  const float highest = blockReduce(sum.highest, maxima, -INFINITY, Maximum());
  const float shift = sum.highest - shiftFor(highest);
  const double factor = expf(shift);
  LogSum result{highest, blockReduce(sum.total * factor, totals, 0.0, Sum()), 0, 0};
  if constexpr (kMoments) {
    // A thread without an element has the highest -inf and nothing to add.
    const double scaled = sum.total == 0 ? 0.0 : factor * (sum.weighted + double{shift} * sum.total);
    result.weighted = blockReduce(scaled, totals, 0.0, Sum());
    result.sum = blockReduce(double{sum.sum}, totals, 0.0, Sum());
  }
  return result;
}

// The sums of the parts of one row together, by one warp; every lane gets the result.
__device__ __forceinline__ LogSum sumOfParts(const float* highest, const double* total, int count) {
  const int lane = threadIdx.x % kWarp;
  float most = -INFINITY;
  for (int i = lane; i < count; i += kWarp) most = fmaxf(most, highest[i]);
  most = warpReduce(most, Maximum());
  const double shift = shiftFor(most);
  double sum = 0;
  for (int i = lane; i < count; i += kWarp) sum += total[i] * exp(highest[i] - shift);
  return {most, warpReduce(sum, Sum()), 0, 0};
}

// ---- gradient ------------------------------------------------------------------------------------------

// Gradients of more columns than this go to several blocks.
constexpr int64_t kGradientColumns = 8192;
// Elements a thread of mapRow takes at a time.
template <typename D>
constexpr int kGradientPerThread = 2 * kVector<D>;

// d logit = -total softmax, the part of the gradient all targets of the row share; `total` is the sum of
// theirs. Probabilities below the normal numbers count as 0, as on the CPU.
__device__ __forceinline__ float softmaxGradient(float logit, float logSumExp, float total) {
  const float exponent = logit - logSumExp;
  return -total * (exponent < -87.3f ? 0.0f : expf(exponent));
}

}  // namespace sralign::cuda
