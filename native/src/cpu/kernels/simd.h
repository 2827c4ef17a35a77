// Vectors as wide as the instruction set being compiled, written with the compiler's vector extensions so
// that one source serves all of them, and the elementary functions the kernels need. Everything is `static
// inline`: nothing here may be shared between instruction sets (see kernels_isa.h).
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "bf16.h"

namespace sralign::cpu::SRALIGN_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vf __attribute__((vector_size(kLanes * 4)));
typedef int32_t Vi __attribute__((vector_size(kLanes * 4)));
typedef uint32_t Vu __attribute__((vector_size(kLanes * 4)));
typedef uint16_t Vh __attribute__((vector_size(kLanes * 2)));

static inline Vf splat(float value) { return value - Vf{}; }

static inline Vf load(const float* from) {
  Vf v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
static inline Vf load(const uint16_t* from) {
  Vh half;
  __builtin_memcpy(&half, from, sizeof half);
  return (Vf)(__builtin_convertvector(half, Vu) << 16);
}
static inline void store(float* to, Vf v) { __builtin_memcpy(to, &v, sizeof v); }
// Rounds to nearest, ties to even; NaN stays NaN.
static inline void store(uint16_t* to, Vf v) {
  const Vu bits = (Vu)v;
  const Vu rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Vu quiet = (bits >> 16) | 0x40u;
  const Vh half = __builtin_convertvector(v == v ? rounded : quiet, Vh);
  __builtin_memcpy(to, &half, sizeof half);
}

// The last `count` < kLanes elements of a row; the other lanes are `rest`.
template <typename T>
static inline Vf loadPartial(const T* from, int64_t count, float rest) {
  Vf v = splat(rest);
  for (int64_t i = 0; i < count; ++i) v[i] = toF32(from[i]);
  return v;
}
template <typename T>
static inline void storePartial(T* to, Vf v, int64_t count) {
  for (int64_t i = 0; i < count; ++i) store(to + i, v[i]);
}

// Both return b where the two do not compare, so a NaN in b stays.
static inline Vf max(Vf a, Vf b) {
#if defined(__AVX512F__)
  return (Vf)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);
#elif defined(__AVX__)
  return (Vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (Vf)_mm_max_ps((__m128)a, (__m128)b);
#else
  return a > b ? a : b;
#endif
}
static inline Vf min(Vf a, Vf b) {
#if defined(__AVX512F__)
  return (Vf)_mm512_maskz_min_ps(0xffff, (__m512)a, (__m512)b);
#elif defined(__AVX__)
  return (Vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (Vf)_mm_min_ps((__m128)a, (__m128)b);
#else
  return a < b ? a : b;
#endif
}

// v with its halves, quarters, ... exchanged: lane i gets lane i xor kStep.
template <int kStep, int... kLane>
static inline Vf exchangeLanes(Vf v, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(v, v, (kLane ^ kStep)...);
}
template <int kStep = kLanes / 2>
static inline float sum(Vf v) {
  v += exchangeLanes<kStep>(v, std::make_integer_sequence<int, kLanes>());
  if constexpr (kStep > 1) return sum<kStep / 2>(v);
  return v[0];
}
template <int kStep = kLanes / 2>
static inline float largest(Vf v) {
  v = max(v, exchangeLanes<kStep>(v, std::make_integer_sequence<int, kLanes>()));
  if constexpr (kStep > 1) return largest<kStep / 2>(v);
  return v[0];
}

// e^x within 1.5 units in the last place. Results below 1.7e-38 are 0 (no slow subnormal numbers), those
// above the largest float are infinite, NaN stays NaN. With n = round(x / ln 2) and r = x - n ln 2: e^x =
// 2^(n-1) * 2 e^r, e^r = 1 + r + r^2 q(r), |r| <= 0.3466, q a minimax polynomial.
static inline Vf exp(Vf x) {
  x = min(splat(89.0f), max(splat(-87.3f), x));
  const Vf shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the integer n sits in the low bits
  const Vf n = shifted - 12582912.0f;
  Vf r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vf q = r * 0.00138142204f + 0.0083688991f;
  q = q * r + 0.0416684039f;
  q = q * r + 0.1666651964f;
  q = q * r + 0.4999999404f;
  const Vf twice = 2.0f * (q * (r * r) + r) + 2.0f;
  return twice * (Vf)(((Vi)shifted << 23) + (126 << 23));
}

static inline Vf sigmoid(Vf x) { return 1.0f / (1.0f + exp(-x)); }

// The normal distribution function and density at x: Phi(-a) = e^(-a^2/2) M(a) for a = |x|, with Mills' ratio
// M as t p(t), t = 1 / (1 + 0.35 a) (a minimax polynomial of relative error 3e-8), so that the lower tail
// keeps its relative accuracy.
struct Normal {
  Vf distribution, density;
};
static inline Normal normal(Vf x) {
  const Vf a = (Vf)((Vi)x & 0x7fffffff);
  const Vf t = 1.0f / (1.0f + 0.35f * a);
  Vf p = t * -0.0291459188f + 0.1439716369f;
  p = p * t - 0.2557141483f;
  p = p * t + 0.1591740251f;
  p = p * t - 0.0231097452f;
  p = p * t + 0.1055079699f;
  p = p * t + 0.1198328733f;
  p = p * t + 0.1398618668f;
  p = p * t + 0.1396214068f;
  const Vf bell = exp(-0.5f * (x * x));
  const Vf tail = bell * (t * p);
  return {x < 0.0f ? tail : 1.0f - tail, bell * 0.398942280f};
}

}  // namespace sralign::cpu::SRALIGN_ISA
