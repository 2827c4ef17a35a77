// Random initial weights.
#pragma once

#include <cstdint>

#include "../core/tensor.h"

namespace sralign::cpu {

// Box-Muller on a counter-based generator: element i depends on the seed and i alone.
void fillNormal(const TensorView& out, double deviation, uint64_t seed);

}  // namespace sralign::cpu
