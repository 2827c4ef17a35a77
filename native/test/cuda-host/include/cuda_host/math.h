// Test infrastructure (../../README.md): the device functions CUDA adds to the C library's, and atomics. The
// fast ones
// (__expf and the like) go through the base-2 functions in f32, so that they are about as inexact as a
// device's.
#pragma once

#include <math.h>
#include <stdlib.h>

#include <bit>
#include <cstdint>
#include <cstring>

// NOLINTBEGIN: the names are CUDA's
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }

namespace cuda_host {
inline float fastExp(float x) { return exp2f(x * 1.4426950408889634f); }
inline float fastLog(float x) { return log2f(x) * 0.6931471805599453f; }
inline float fastPower(float x, float y) { return exp2f(y * log2f(x)); }
}  // namespace cuda_host
// Macros, because the C library declares functions of these names for itself.
#define __expf ::cuda_host::fastExp
#define __logf ::cuda_host::fastLog
#define __powf ::cuda_host::fastPower
#define __log2f ::log2f
#define __sinf ::sinf
#define __cosf ::cosf

inline float __fdividef(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }

inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}

#define SRALIGN_CUDA_HOST_EXTREMES(type)                       \
  constexpr type min(type a, type b) { return b < a ? b : a; } \
  constexpr type max(type a, type b) { return a < b ? b : a; }
SRALIGN_CUDA_HOST_EXTREMES(int)
SRALIGN_CUDA_HOST_EXTREMES(unsigned)
SRALIGN_CUDA_HOST_EXTREMES(long)
SRALIGN_CUDA_HOST_EXTREMES(unsigned long)
SRALIGN_CUDA_HOST_EXTREMES(long long)
SRALIGN_CUDA_HOST_EXTREMES(unsigned long long)
#undef SRALIGN_CUDA_HOST_EXTREMES
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

// The threads of a device take turns here, so that reading, then writing is atomic.
#define SRALIGN_CUDA_HOST_ATOMIC(name, type, result) \
  inline type name(type* address, type value) {      \
    const type old = *address;                       \
    *address = result;                               \
    return old;                                      \
  }
SRALIGN_CUDA_HOST_ATOMIC(atomicAdd, int, static_cast<int>(static_cast<unsigned>(old) + value))
SRALIGN_CUDA_HOST_ATOMIC(atomicAdd, unsigned, old + value)
SRALIGN_CUDA_HOST_ATOMIC(atomicAdd, unsigned long long, old + value)
SRALIGN_CUDA_HOST_ATOMIC(atomicAdd, float, old + value)
SRALIGN_CUDA_HOST_ATOMIC(atomicAdd, double, old + value)
SRALIGN_CUDA_HOST_ATOMIC(atomicMax, int, max(old, value))
SRALIGN_CUDA_HOST_ATOMIC(atomicMax, unsigned, max(old, value))
SRALIGN_CUDA_HOST_ATOMIC(atomicMin, int, min(old, value))
SRALIGN_CUDA_HOST_ATOMIC(atomicOr, unsigned, old | value)
SRALIGN_CUDA_HOST_ATOMIC(atomicExch, int, value)
#undef SRALIGN_CUDA_HOST_ATOMIC
// NOLINTEND
