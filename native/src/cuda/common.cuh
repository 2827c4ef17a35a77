// What the kernel files share: checked launches, 16-byte loads, and reductions of warps and blocks.
//
// The same sources run on a GPU and, in tests, on the CPU (native/test/cuda-host), so kernels keep to what
// both know: launches go through `launch`, shared memory is declared with SRALIGN_SHARED or
// SRALIGN_DYNAMIC_SHARED, and the few instructions without a C++ spelling are in mma.cuh.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "../backend.h"
#include "../core/error.h"
#include "context.h"

namespace sralign::cuda {

using bf16 = __nv_bfloat16;

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

constexpr int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- launches ------------------------------------------------------------------------------------------

struct Launch {
  const char* operation;  // named in errors
  dim3 grid, block;
  size_t sharedBytes = 0;  // dynamic
};

// Queues the kernel on the context's stream. A grid without blocks does nothing.
template <typename... Parameters, typename... Arguments>
void launch(Context& context, const Launch& shape, void (*kernel)(Parameters...), Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  if (shape.sharedBytes > 48 * 1024) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.sharedBytes)),
          shape.operation);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.sharedBytes;
  config.stream = context.stream();
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(std::forward<Arguments>(arguments))...),
        shape.operation);
}

// ---- shared memory -------------------------------------------------------------------------------------

// SRALIGN_SHARED(float, sums, 32): an array of the block, contents undefined at its start.
// SRALIGN_DYNAMIC_SHARED(tile): a char* to the Launch::sharedBytes bytes of the block, 16-byte aligned.
#ifndef SRALIGN_CUDA_HOST
#define SRALIGN_SHARED(type, name, count) __shared__ alignas(16) type name[count]
#define SRALIGN_DYNAMIC_SHARED(name)                              \
  extern __shared__ __align__(16) unsigned char name##_dynamic[]; \
  char* const name = reinterpret_cast<char*>(name##_dynamic)
#endif

// ---- numbers -------------------------------------------------------------------------------------------

__device__ __forceinline__ float toFloat(float value) { return value; }
__device__ __forceinline__ float toFloat(bf16 value) { return __bfloat162float(value); }

template <typename T>
__device__ __forceinline__ T fromFloat(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return __float2bfloat16_rn(value);
  }
}

// As many elements as one 16-byte access moves.
template <typename T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

// 16 bytes of T. `address` must be 16-byte aligned.
template <typename T>
struct alignas(16) Vector {
  T values[kVector<T>];

  static __device__ __forceinline__ Vector load(const T* address) {
    Vector vector;
    const int4 bits = *reinterpret_cast<const int4*>(address);
    memcpy(vector.values, &bits, sizeof(bits));
    return vector;
  }
  __device__ __forceinline__ void store(T* address) const {
    int4 bits;
    memcpy(&bits, values, sizeof(bits));
    *reinterpret_cast<int4*>(address) = bits;
  }
};

inline bool aligned16(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

// ---- reductions ----------------------------------------------------------------------------------------

struct Sum {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Maximum {
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Every lane of the warp gets the result; all 32 take part.
template <typename T, typename Combine>
__device__ __forceinline__ T warpReduce(T value, Combine combine) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// Every thread of the block gets the result. blockDim.x is a multiple of 32; `partial` holds blockDim.x / 32
// values and may be used again at once. The order of the sum is fixed.
template <typename T, typename Combine>
__device__ __forceinline__ T blockReduce(T value, T* partial, T neutral, Combine combine) {
  value = warpReduce(value, combine);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp;
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  value = warpReduce(lane < warps ? partial[lane] : neutral, combine);
  __syncthreads();
  return value;
}

}  // namespace sralign::cuda
