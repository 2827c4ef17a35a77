// Test infrastructure (../README.md).
#include "errors.h"

#include <cstdarg>
#include <cstdio>
#include <vector>

#include "cuda_host/control.h"
#include "streams.h"

namespace cuda_host {

std::recursive_mutex deviceLock;
uint64_t callCount = 0;

namespace {

cudaError_t sticky = cudaSuccess, latest = cudaSuccess, describedStatus = cudaSuccess;
std::string description;
bool printing = true;

struct Name {
  cudaError_t status;
  const char *name, *meaning;
};
constexpr Name kNames[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "misaligned address"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
};

const Name& nameOf(cudaError_t status) {
  static constexpr Name kUnknown = {cudaSuccess, "cudaErrorUnknown", "unknown error"};
  for (const Name& name : kNames) {
    if (name.status == status) return name;
  }
  return kUnknown;
}

void describe(cudaError_t status, const std::string& message) {
  describedStatus = status;
  description = std::string(nameOf(status).meaning) + ": " + message;
}

void printDescription() {
  if (printing) fprintf(stderr, "CUDA on the CPU: %s\n", description.c_str());
}

}  // namespace

std::string format(const char* pattern, ...) {
  va_list arguments, again;
  va_start(arguments, pattern);
  va_copy(again, arguments);
  std::vector<char> text(static_cast<size_t>(vsnprintf(nullptr, 0, pattern, arguments)) + 1);
  vsnprintf(text.data(), text.size(), pattern, again);
  va_end(again);
  va_end(arguments);
  return text.data();
}

cudaError_t stickyError() { return sticky; }

void setStickyError(cudaError_t status, const std::string& message) {
  if (sticky != cudaSuccess) return;  // the first one is the cause
  sticky = latest = status;
  describe(status, message);
  printDescription();
}

cudaError_t refuse(cudaError_t status, const std::string& message) {
  latest = status;
  describe(status, message);
  return status;
}

void explain(const std::string& message) {
  describedStatus = cudaSuccess;
  description = message;
  printDescription();
}

std::string errorMessage() {
  const std::lock_guard lock(deviceLock);
  return description;
}

void clearError() {
  const std::lock_guard lock(deviceLock);
  dropQueuedWork();
  sticky = latest = describedStatus = cudaSuccess;
  description.clear();
}

void printErrors(bool print) {
  const std::lock_guard lock(deviceLock);
  printing = print;
}

}  // namespace cuda_host

using namespace cuda_host;

const char* cudaGetErrorName(cudaError_t status) { return nameOf(status).name; }

const char* cudaGetErrorString(cudaError_t status) {
  const std::lock_guard lock(deviceLock);
  return status != cudaSuccess && status == describedStatus ? description.c_str() : nameOf(status).meaning;
}

cudaError_t cudaPeekAtLastError() {
  const std::lock_guard lock(deviceLock);
  return latest;
}

cudaError_t cudaGetLastError() {
  const std::lock_guard lock(deviceLock);
  const cudaError_t status = latest;
  latest = sticky;
  return status;
}
