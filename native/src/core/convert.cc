#include "convert.h"

namespace sralign {

namespace {

template <typename T>
T load(const uint8_t* source) {
  T value;
  std::memcpy(&value, source, sizeof value);
  return value;
}

}  // namespace

float f16ToF32(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // zero or subnormal
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t wideExponent = exponent == 31 ? 255 : exponent + 112;
  const uint32_t wide = sign | (wideExponent << 23) | (mantissa << 13);
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

void convertToF32(const uint8_t* source, FileType type, int64_t count, float* target) {
  if (type == FileType::f32) {
    std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
  } else if (type == FileType::bf16) {
    for (int64_t i = 0; i < count; ++i) target[i] = bf16ToF32(load<uint16_t>(source + 2 * i));
  } else {
    for (int64_t i = 0; i < count; ++i) target[i] = f16ToF32(load<uint16_t>(source + 2 * i));
  }
}

void convertToBf16(const uint8_t* source, FileType type, int64_t count, uint16_t* target) {
  if (type == FileType::bf16) {
    std::memcpy(target, source, static_cast<size_t>(count) * sizeof(uint16_t));
  } else if (type == FileType::f32) {
    for (int64_t i = 0; i < count; ++i) target[i] = f32ToBf16(load<float>(source + 4 * i));
  } else {
    for (int64_t i = 0; i < count; ++i) target[i] = f32ToBf16(f16ToF32(load<uint16_t>(source + 2 * i)));
  }
}

}  // namespace sralign
