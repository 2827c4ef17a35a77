// Test infrastructure: stands in for NVIDIA's header of this name in test builds (see README.md). bf16 with
// rounding to nearest even; NaN becomes 0x7fff, as a device makes it.
#pragma once

#include <bit>
#include <cstdint>

#include "cuda_runtime.h"

// NOLINTBEGIN: the names are CUDA's
struct __nv_bfloat16 {
  uint16_t bits;

  __nv_bfloat16() = default;  // contents undefined
  inline __nv_bfloat16(float value);
  inline operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  __nv_bfloat16 value;
  value.bits = bits;
  return value;
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return __ushort_as_bfloat16(0x7fff);
  return __ushort_as_bfloat16(static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16));
}
inline __nv_bfloat16 __float2bfloat16(float value) { return __float2bfloat16_rn(value); }
inline float __bfloat162float(__nv_bfloat16 value) { return static_cast<float>(value); }
inline __nv_bfloat16::__nv_bfloat16(float value) : bits(__float2bfloat16_rn(value).bits) {}

struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline float2 __bfloat1622float2(__nv_bfloat162 pair) { return {pair.x, pair.y}; }
// NOLINTEND
