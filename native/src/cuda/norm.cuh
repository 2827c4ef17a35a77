// Layer normalisation and root-mean-square normalisation over the last axis, x f32 [T, H].
//   layer: xh = (x - mean) rstd, rstd = 1 / sqrt(mean((x - mean)^2) + eps);  out = xh w + b
//   rms:   xh = x rstd, rstd = 1 / sqrt(mean(x^2) + eps);                    out = xh w
//   backward, with e = dOut w:  dX = rstd (e - [mean(e)] - xh mean(e xh))    ([..]: layer only)
//                               dW = sum_t dOut xh;  dB = sum_t dOut
//
// A block works on one row at a time, each thread on the groups of elements threadIdx.x, threadIdx.x +
// blockDim.x, ... of it. Rows of up to kHeldRow elements stay in registers, longer ones are read again for
// each pass. The backward gives each block a strip of neighbouring rows, so that a thread keeps the sums of
// dW and dB of its columns to itself; a second kernel adds the strips' parts in order.
#pragma once

#include <algorithm>
#include <cmath>

#include "groups.cuh"

namespace sralign::cuda {

constexpr int kHeldRow = 8192;
constexpr int kForwardThreads = 512, kBackwardThreads = 1024;  // most of a block
// Elements of a row in the registers of a thread.
constexpr int kForwardHeld = kHeldRow / kForwardThreads, kBackwardHeld = kHeldRow / kBackwardThreads;
// The second kernel: a block adds up kSumLanes columns with as many warps.
constexpr int kSumLanes = kWarp, kSumThreads = kSumLanes * kSumLanes;

// Calls body(index, column) for each group of a row that belongs to this thread. kGroups is how many the
// thread holds in registers, and `index` then says which one; 0 stands for any number.
template <int kGroup, int kGroups, typename Body>
__device__ __forceinline__ void forEachGroup(int width, Body&& body) {
  const int step = blockDim.x * kGroup;
  int column = threadIdx.x * kGroup;
  if constexpr (kGroups > 0) {
#pragma unroll
    for (int index = 0; index < kGroups; ++index, column += step) {
      if (column < width) body(index, column);
    }
  } else {
    for (; column < width; column += step) body(0, column);
  }
}

// This thread's groups of a row.
template <typename T, int kGroup, int kGroups>
struct RowGroups {
  const T* __restrict__ row;
  float held[std::max(kGroups, 1)][kGroup] = {};

  __device__ __forceinline__ RowGroups(const T* row, int width) : row(row) {
    if constexpr (kGroups > 0) {
      forEachGroup<kGroup, kGroups>(width,
                                    [&](int index, int column) { loadGroup(row + column, held[index]); });
    }
  }
  __device__ __forceinline__ void get(int index, int column, float (&values)[kGroup]) const {
    if constexpr (kGroups > 0) {
#pragma unroll
      for (int i = 0; i < kGroup; ++i) values[i] = held[index][i];
    } else {
      loadGroup(row + column, values);
    }
  }
};

// Sums over rows in this thread's columns: in registers until `finish`, or in `part` all along.
template <int kGroup, int kGroups>
struct ColumnSums {
  float* __restrict__ part;
  float held[std::max(kGroups, 1)][kGroup] = {};

  __device__ __forceinline__ ColumnSums(float* part, int width) : part(part) {
    if constexpr (kGroups == 0) {
      forEachGroup<kGroup, 0>(width, [&](int, int column) { storeGroup(part + column, held[0]); });
    }
  }
  __device__ __forceinline__ void add(int index, int column, const float (&values)[kGroup]) {
    if constexpr (kGroups > 0) {
#pragma unroll
      for (int i = 0; i < kGroup; ++i) held[index][i] += values[i];
    } else {
      float sums[kGroup];
      loadGroup(part + column, sums);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) sums[i] += values[i];
      storeGroup(part + column, sums);
    }
  }
  __device__ __forceinline__ void finish(int width) const {
    if constexpr (kGroups > 0) {
      forEachGroup<kGroup, kGroups>(width,
                                    [&](int index, int column) { storeGroup(part + column, held[index]); });
    }
  }
};

template <bool kCentered, int kGroup, int kGroups, typename Out>
__global__ void __launch_bounds__(kForwardThreads)
    normForwardKernel(const float* __restrict__ x, const float* __restrict__ weight,
                      const float* __restrict__ bias, float epsilon, int width, Out* __restrict__ out,
                      float* __restrict__ means, float* __restrict__ rstds) {
  SRALIGN_SHARED(float, partial, kWarp);
  const int64_t start = int64_t{blockIdx.x} * width;
  const RowGroups<float, kGroup, kGroups> row(x + start, width);
  float mean = 0;
  if constexpr (kCentered) {
    float sum = 0;
    forEachGroup<kGroup, kGroups>(width, [&](int index, int column) {
      float values[kGroup];
      row.get(index, column, values);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) sum += values[i];
    });
    mean = blockReduce(sum, partial, 0.0f, Sum{}) / width;
  }
  float squares = 0;
  forEachGroup<kGroup, kGroups>(width, [&](int index, int column) {
    float values[kGroup];
    row.get(index, column, values);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) squares += (values[i] - mean) * (values[i] - mean);
  });
  const float rstd = 1.0f / sqrtf(blockReduce(squares, partial, 0.0f, Sum{}) / width + epsilon);
  if (threadIdx.x == 0) {
    if constexpr (kCentered) means[blockIdx.x] = mean;
    rstds[blockIdx.x] = rstd;
  }
  forEachGroup<kGroup, kGroups>(width, [&](int index, int column) {
    float values[kGroup], w[kGroup];
    row.get(index, column, values);
    loadGroup(weight + column, w);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) values[i] = (values[i] - mean) * rstd * w[i];
    if constexpr (kCentered) {
      loadGroup(bias + column, w);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) values[i] += w[i];
    }
    storeGroup(out + start + column, values);
  });
}

// parts: f32 [strips, 2 if kCentered, else 1, H], dW before dB.
template <bool kCentered, int kGroup, int kGroups, typename Gradient>
__global__ void __launch_bounds__(kBackwardThreads)
    normBackwardKernel(const float* __restrict__ x, const float* __restrict__ weight,
                       const float* __restrict__ means, const float* __restrict__ rstds,
                       const Gradient* __restrict__ dOut, int64_t rows, int width, int stripRows,
                       bool accumulate, float* __restrict__ dX, float* __restrict__ parts) {
  SRALIGN_SHARED(float, partial, kWarp);
  float* part = parts + int64_t{blockIdx.x} * (kCentered ? 2 : 1) * width;
  ColumnSums<kGroup, kGroups> dWeight(part, width);
  ColumnSums<kGroup, kCentered ? kGroups : 1> dBias(part + width, width);  // rms: never used
  const int64_t first = int64_t{blockIdx.x} * stripRows;
  const int64_t end = first + stripRows < rows ? first + stripRows : rows;
  for (int64_t t = first; t < end; ++t) {
    const float mean = kCentered ? means[t] : 0.0f, rstd = rstds[t];
    const RowGroups<float, kGroup, kGroups> row(x + t * width, width);
    const RowGroups<Gradient, kGroup, kGroups> gradient(dOut + t * width, width);
    float meanE = 0, meanEXh = 0;
    forEachGroup<kGroup, kGroups>(width, [&](int index, int column) {
      float values[kGroup], d[kGroup], w[kGroup];
      row.get(index, column, values);
      gradient.get(index, column, d);
      loadGroup(weight + column, w);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        const float e = d[i] * w[i];
        if constexpr (kCentered) meanE += e;
        meanEXh += e * ((values[i] - mean) * rstd);
      }
    });
    if constexpr (kCentered) meanE = blockReduce(meanE, partial, 0.0f, Sum{}) / width;
    meanEXh = blockReduce(meanEXh, partial, 0.0f, Sum{}) / width;
    forEachGroup<kGroup, kGroups>(width, [&](int index, int column) {
      float values[kGroup], d[kGroup], w[kGroup], before[kGroup] = {};
      row.get(index, column, values);
      gradient.get(index, column, d);
      loadGroup(weight + column, w);
      float* target = dX + t * width + column;
      if (accumulate) loadGroup(target, before);
      if constexpr (kCentered) dBias.add(index, column, d);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        const float xh = (values[i] - mean) * rstd;
        before[i] += rstd * (d[i] * w[i] - meanE - xh * meanEXh);
        d[i] *= xh;
      }
      storeGroup(target, before);
      dWeight.add(index, column, d);
    });
  }
  dWeight.finish(width);
  if constexpr (kCentered) dBias.finish(width);
}

// Adds the strips' parts [strips, columns] to dWeight (the first `width` columns) and dBias. A warp takes
// every 32nd part of 32 columns; the warps' sums are added in order.
static __global__ void __launch_bounds__(kSumThreads)
    normPartsKernel(const float* __restrict__ parts, int strips, int columns, int width,
                    float* __restrict__ dWeight, float* __restrict__ dBias) {
  SRALIGN_SHARED(float, sums, kSumThreads);
  const int lane = threadIdx.x % kSumLanes, warp = threadIdx.x / kSumLanes;
  const int column = blockIdx.x * kSumLanes + lane;
  float sum = 0;
  if (column < columns) {
#pragma unroll 8
    for (int strip = warp; strip < strips; strip += kSumLanes) {
      sum += parts[int64_t{strip} * columns + column];
    }
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (warp != 0 || column >= columns) return;
  float total = 0;
#pragma unroll 8
  for (int other = 0; other < kSumLanes; ++other) total += sums[other * kSumLanes + lane];
  if (column < width) {
    dWeight[column] += total;
  } else {
    dBias[column - width] += total;
  }
}

// ---- launches

// Launch: a block per row of ceil(H / 16) threads in whole warps.
template <bool kCentered, int kGroup, typename Out>
void launchNormForward(Context& context, const char* operation, const TensorView& x, const float* weight,
                       const float* bias, float epsilon, Out* out, float* means, float* rstds) {
  const int width = static_cast<int>(x.shape[1]);
  const int threads = std::min(kForwardThreads, wholeWarps(ceilDiv(width, kForwardHeld)));
  const auto kernel = width <= kHeldRow ? normForwardKernel<kCentered, kGroup, kForwardHeld / kGroup, Out>
                                        : normForwardKernel<kCentered, kGroup, 0, Out>;
  launch(context, {.operation = operation, .grid = gridOf(x.shape[0]), .block = dim3(threads)}, kernel,
         x.f32(), weight, bias, epsilon, width, out, means, rstds);
}

template <bool kCentered>
void normForward(Context& context, const char* operation, const TensorView& x, const float* weight,
                 const float* bias, float epsilon, const TensorView& out, float* means, float* rstds) {
  withType(out.dtype, [&](auto type) {
    using Out = decltype(type);
    constexpr int kGroup = kGroupOf<float, Out>;
    Out* target = elementsOf<Out>(out);
    if (x.shape[1] % kGroup == 0 && groupAligned<kGroup>(x.f32(), weight, bias, target)) {
      launchNormForward<kCentered, kGroup>(context, operation, x, weight, bias, epsilon, target, means,
                                           rstds);
    } else {
      launchNormForward<kCentered, 1>(context, operation, x, weight, bias, epsilon, target, means, rstds);
    }
  });
}

struct NormBackward {
  const char* operation;
  TensorView x;
  const float *weight, *means, *rstds;
  TensorView dOut;
  float* dX;
  bool accumulate;
  float *dWeight, *dBias;
};

// Launch: a block per strip of ceil(H / 8) threads in whole warps, as many strips as the multiprocessors hold
// at once (kBackwardThreads each, at 64 registers a thread) but of 16 rows at least; then a block of 1024
// threads per 32 columns of the parts.
template <bool kCentered, int kGroup, typename Gradient>
void launchNormBackward(Context& context, const NormBackward& call) {
  const int64_t rows = call.x.shape[0];
  const int width = static_cast<int>(call.x.shape[1]);
  const int threads = std::min(kBackwardThreads, wholeWarps(ceilDiv(width, kBackwardHeld)));
  const int64_t resident = int64_t{context.multiprocessors()} * (kBackwardThreads / threads);
  const int64_t stripRows = std::max<int64_t>(16, ceilDiv(rows, resident)), strips = ceilDiv(rows, stripRows);
  const int64_t columns = (kCentered ? 2 : 1) * call.x.shape[1];
  float* parts = context.scratchOf<float>(ScratchSlot::reduction, strips * columns);
  const auto kernel = width <= kHeldRow
                          ? normBackwardKernel<kCentered, kGroup, kBackwardHeld / kGroup, Gradient>
                          : normBackwardKernel<kCentered, kGroup, 0, Gradient>;
  launch(context, {.operation = call.operation, .grid = gridOf(strips), .block = dim3(threads)}, kernel,
         call.x.f32(), call.weight, call.means, call.rstds, elementsOf<Gradient>(call.dOut), rows, width,
         stripRows, call.accumulate, call.dX, parts);
  const dim3 sumGrid = gridOf(ceilDiv(columns, kSumLanes));
  launch(context, {.operation = call.operation, .grid = sumGrid, .block = dim3(kSumThreads)}, normPartsKernel,
         parts, strips, columns, width, call.dWeight, call.dBias);
}

template <bool kCentered>
void normBackward(Context& context, const NormBackward& call) {
  withType(call.dOut.dtype, [&](auto type) {
    using Gradient = decltype(type);
    constexpr int kGroup = kGroupOf<float, Gradient>;
    if (call.x.shape[1] % kGroup == 0 &&
        groupAligned<kGroup>(call.x.f32(), call.weight, elementsOf<Gradient>(call.dOut), call.dX)) {
      launchNormBackward<kCentered, kGroup, Gradient>(context, call);
    } else {
      launchNormBackward<kCentered, 1, Gradient>(context, call);
    }
  });
}

}  // namespace sralign::cuda
