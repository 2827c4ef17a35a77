// Test infrastructure (../README.md).
#include "random.h"

#include <cstdlib>

#include "cuda_host/control.h"
#include "errors.h"

namespace cuda_host {

static uint64_t stateOf(uint64_t seed) {
  const uint64_t state =
      (seed + 1) * 0x9e3779b97f4a7c15u;  // so that neighbouring seeds have little in common
  return state == 0 ? 1 : state;
}

static uint64_t initialState() {
  const char* seed = getenv("SRALIGN_CUDA_HOST_SEED");
  return stateOf(seed == nullptr ? 1 : strtoull(seed, nullptr, 10));
}

uint64_t randomState = initialState();

void setSeed(uint64_t seed) {
  const std::lock_guard lock(deviceLock);
  randomState = stateOf(seed);
}

}  // namespace cuda_host
