// bf16 and f32, one number at a time; the compiler turns loops over these into vector code.
#pragma once

#include <cstdint>
#include <cstring>

namespace sralign::cpu::SRALIGN_ISA {

static inline float bf16ToF32(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// Rounds to nearest, ties to even; NaN stays NaN.
static inline uint16_t f32ToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x40u;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

static inline float toF32(float value) { return value; }
static inline float toF32(uint16_t bits) { return bf16ToF32(bits); }
static inline void store(float* target, float value) { *target = value; }
static inline void store(uint16_t* target, float value) { *target = f32ToBf16(value); }

}  // namespace sralign::cpu::SRALIGN_ISA
