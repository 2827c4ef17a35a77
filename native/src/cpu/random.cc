#include "random.h"

#include <cmath>
#include <numbers>

#include "../core/convert.h"

namespace sralign::cpu {

namespace {

// SplitMix64: a counter in, well-mixed bits out.
uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

// In [0, 1).
double uniform(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

void put(const TensorView& out, int64_t index, double value) {
  if (out.dtype == DType::bf16) {
    out.bf16()[index] = f32ToBf16(static_cast<float>(value));
  } else {
    out.f32()[index] = static_cast<float>(value);
  }
}

}  // namespace

void fillNormal(const TensorView& out, double deviation, uint64_t seed) {
  const uint64_t stream = mix(seed);
  const int64_t count = out.numel();
#pragma omp parallel for schedule(static)
  for (int64_t pair = 0; pair < (count + 1) / 2; ++pair) {
    const auto counter = static_cast<uint64_t>(pair) * 2;
    const double radius = deviation * std::sqrt(-2 * std::log1p(-uniform(mix(stream ^ counter))));
    const double angle = 2 * std::numbers::pi * uniform(mix(stream ^ (counter + 1)));
    put(out, 2 * pair, radius * std::cos(angle));
    if (2 * pair + 1 < count) put(out, 2 * pair + 1, radius * std::sin(angle));
  }
}

}  // namespace sralign::cpu
