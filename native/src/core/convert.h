// Conversions between the number formats of files and of tensors, on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sralign {

enum class FileType : int32_t { f32 = 0, f16 = 1, bf16 = 2 };

constexpr int64_t sizeOf(FileType type) { return type == FileType::f32 ? 4 : 2; }

inline float bf16ToF32(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// Rounds to nearest, ties to even; NaN stays NaN.
inline uint16_t f32ToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float f16ToF32(uint16_t bits);

// `source` holds `count` little-endian numbers of `type`, at any alignment.
void convertToF32(const uint8_t* source, FileType type, int64_t count, float* target);
void convertToBf16(const uint8_t* source, FileType type, int64_t count, uint16_t* target);

}  // namespace sralign
