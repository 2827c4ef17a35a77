// out[i] = function(a[i]) and out[i] = function(a[i], b[i]), in f32 arithmetic; out may be an operand.
// Launch: a thread per group of elements (see kGroupOf), kMapThreads a block, no shared memory. Operands that
// are not aligned to groups go one element a thread.
#pragma once

#include "groups.cuh"

namespace sralign::cuda {

constexpr int kMapThreads = 256;

template <int kGroup>
__device__ __forceinline__ int64_t mapPlace() {
  return (int64_t{blockIdx.x} * kMapThreads + threadIdx.x) * kGroup;
}

template <int kGroup, typename Function, typename A, typename Out>
__device__ __forceinline__ void mapGroup(Function function, const A* a, Out* out) {
  float x[kGroup], result[kGroup];
  loadGroup(a, x);
#pragma unroll
  for (int i = 0; i < kGroup; ++i) result[i] = function(x[i]);
  storeGroup(out, result);
}

template <int kGroup, typename Function, typename A, typename B, typename Out>
__device__ __forceinline__ void mapGroup(Function function, const A* a, const B* b, Out* out) {
  float x[kGroup], y[kGroup], result[kGroup];
  loadGroup(a, x);
  loadGroup(b, y);
#pragma unroll
  for (int i = 0; i < kGroup; ++i) result[i] = function(x[i], y[i]);
  storeGroup(out, result);
}

template <int kGroup, typename Function, typename A, typename Out>
__global__ void __launch_bounds__(kMapThreads)
    mapKernel(Function function, int64_t count, const A* a, Out* out) {
  const int64_t first = mapPlace<kGroup>();
  if (first + kGroup <= count) {
    mapGroup<kGroup>(function, a + first, out + first);
  } else {
    for (int64_t i = first; i < count; ++i) mapGroup<1>(function, a + i, out + i);
  }
}

template <int kGroup, typename Function, typename A, typename B, typename Out>
__global__ void __launch_bounds__(kMapThreads)
    mapPairKernel(Function function, int64_t count, const A* a, const B* b, Out* out) {
  const int64_t first = mapPlace<kGroup>();
  if (first + kGroup <= count) {
    mapGroup<kGroup>(function, a + first, b + first, out + first);
  } else {
    for (int64_t i = first; i < count; ++i) mapGroup<1>(function, a + i, b + i, out + i);
  }
}

inline Launch mapLaunch(const char* operation, int64_t count, int group) {
  return {.operation = operation,
          .grid = gridOf(ceilDiv(count, kMapThreads * group)),
          .block = dim3(kMapThreads)};
}

template <typename Function, typename A, typename Out>
void map(Context& context, const char* operation, Function function, int64_t count, const A* a, Out* out) {
  constexpr int kGroup = kGroupOf<A, Out>;
  if (groupAligned<kGroup>(a, out)) {
    launch(context, mapLaunch(operation, count, kGroup), mapKernel<kGroup, Function, A, Out>, function, count,
           a, out);
  } else {
    launch(context, mapLaunch(operation, count, 1), mapKernel<1, Function, A, Out>, function, count, a, out);
  }
}

template <typename Function, typename A, typename B, typename Out>
void map(Context& context, const char* operation, Function function, int64_t count, const A* a, const B* b,
         Out* out) {
  constexpr int kGroup = kGroupOf<A, B, Out>;
  if (groupAligned<kGroup>(a, b, out)) {
    launch(context, mapLaunch(operation, count, kGroup), mapPairKernel<kGroup, Function, A, B, Out>, function,
           count, a, b, out);
  } else {
    launch(context, mapLaunch(operation, count, 1), mapPairKernel<1, Function, A, B, Out>, function, count, a,
           b, out);
  }
}

}  // namespace sralign::cuda
