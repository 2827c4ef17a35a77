// Test infrastructure (../../README.md): CUDA's keywords and its vector types, aligned as on a device.
#pragma once

#include <cstddef>
#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

// NOLINTBEGIN: the names are CUDA's
struct uint3 {
  unsigned x, y, z;
};
struct int3 {
  int x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define SRALIGN_CUDA_HOST_VECTORS(element, name)                         \
  struct alignas(2 * sizeof(element)) name##2 { element x, y; };         \
  struct alignas(4 * sizeof(element)) name##4 { element x, y, z, w; };   \
  inline name##2 make_##name##2(element x, element y) { return {x, y}; } \
  inline name##4 make_##name##4(element x, element y, element z, element w) { return {x, y, z, w}; }
SRALIGN_CUDA_HOST_VECTORS(int, int)
SRALIGN_CUDA_HOST_VECTORS(unsigned, uint)
SRALIGN_CUDA_HOST_VECTORS(float, float)
#undef SRALIGN_CUDA_HOST_VECTORS

struct alignas(16) double2 {
  double x, y;
};
inline double2 make_double2(double x, double y) { return {x, y}; }
// NOLINTEND
