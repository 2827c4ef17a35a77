// Test infrastructure (../README.md): the shared memory of the block that runs, undefined (poisoned) at its
// start, with guard zones around every array. Limits are those of compute capability 9.0.
#pragma once

#include <cstddef>
#include <string>

#include "cuda_host/api.h"

namespace cuda_host {

constexpr size_t kDefaultSharedBytes = 48 * 1024;  // of a block, static and dynamic
constexpr size_t kMaxSharedBytes = 227 * 1024;     // of a kernel that asked with cudaFuncSetAttribute

// The dynamic shared memory a kernel may be launched with.
cudaError_t allowDynamicShared(const void* kernel, size_t bytes);
bool isDynamicSharedAllowed(const void* kernel, size_t bytes);

void beginShared(size_t dynamicBytes, const void* kernel);
// Which guard zone was written to, such as "12 bytes after the end of shared array sums (128 bytes)"; empty
// for none.
std::string findSharedOverrun();
// The same form for any address; empty where it is not near shared memory.
std::string describeShared(const void* address);

}  // namespace cuda_host
