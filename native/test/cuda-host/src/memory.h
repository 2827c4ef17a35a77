// Test infrastructure (../README.md): device memory and pinned host memory, each allocation in pages of its
// own so that an access beside it or after its end of life stops at once, with guard zones for the bytes up
// to the page's edge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda_host/api.h"

namespace cuda_host {

// Undefined memory: NaN as f32, f64 and bf16, and absurd as an integer, an index or a pointer.
constexpr uint16_t kPoison = 0x7ffb;
constexpr size_t kGuardBytes = 256;

void fillPoison(void* data, size_t bytes);
void fillGuard(void* data, size_t bytes);
// The first byte that is no longer as `fillGuard` left it; null where all are.
const char* findDamage(const void* data, size_t bytes);

enum class Space { device, pinned };

struct Allocation {
  uint64_t number = 0;  // counts cudaMalloc and cudaMallocHost from 1
  Space space = Space::device;
  char* data = nullptr;
  size_t bytes = 0;
  char* mapping = nullptr;
  size_t mappedBytes = 0;
  bool freed = false;
};

cudaError_t allocate(Space space, size_t bytes, void** data);
// Freed addresses are not handed out again for a long time.
cudaError_t release(Space space, void* data);

size_t totalDeviceBytes();
size_t usedDeviceBytes();

// The allocation in which all of the bytes lie; null where there is none. Valid until the next call of
// `release`.
const Allocation* findAllocation(const void* data, size_t bytes);
// Whether the allocation of this number still exists and holds the bytes.
bool isLive(uint64_t number, const void* data, size_t bytes);

// Such as "12 bytes after the end of device allocation 7 (1000 bytes)"; empty where nothing is near.
std::string describeAddress(const void* address);
// Which guard zone was written to; empty where none was. Restores it.
std::string findOverrun();

}  // namespace cuda_host
