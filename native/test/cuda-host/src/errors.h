// Test infrastructure (../README.md): the lock over the stand-in's state, and the errors its calls return.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "cuda_host/api.h"

namespace cuda_host {

std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));

// One for everything: work runs on whichever thread waits for it.
extern std::recursive_mutex deviceLock;

// The error that ended the device's work, as of a kernel that wrote where it must not: every later call
// returns it.
cudaError_t stickyError();
void setStickyError(cudaError_t status, const std::string& message);
// An error of one call that leaves the device usable. Returns `status`.
cudaError_t refuse(cudaError_t status, const std::string& message);
// The message of an error that is told in another way.
void explain(const std::string& message);

extern uint64_t callCount;  // calls of the runtime so far

// A call of the runtime: under the lock, and not after a sticky error.
template <typename Action>
cudaError_t guarded(Action action) {
  const std::lock_guard lock(deviceLock);
  ++callCount;
  if (const cudaError_t status = stickyError(); status != cudaSuccess) return status;
  return action();
}

}  // namespace cuda_host
