// Test infrastructure (../README.md): the functions of the CUDA runtime for memory, copies, launches and
// devices.
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "block.h"
#include "cuda_host/api.h"
#include "cuda_host/launch.h"
#include "errors.h"
#include "memory.h"
#include "shared_memory.h"
#include "streams.h"
#include "symbols.h"

namespace cuda_host {
namespace {

// A device of compute capability 9.0. Few multiprocessors and an odd number of them, so that grids which go
// by it loop.
constexpr int kMultiprocessors = 3, kComputeMajor = 9, kComputeMinor = 0;
constexpr int kRuntimeVersion = 13000;
constexpr unsigned kMaxThreads = 1024, kMaxThreadsZ = 64, kMaxGridX = 0x7fffffff, kMaxGridYZ = 65535;

thread_local int currentDevice = 0;

std::string nameAddress(const void* address) {
  const std::string what = describeAddress(address);
  return what.empty() ? format("%p, which CUDA did not allocate", address) : what;
}

// One side of a copy: of an allocation of CUDA, or memory of the program.
struct Side {
  const void* data;
  size_t bytes;
  uint64_t allocation = 0;  // its number; 0 for memory of the program
  bool onDevice = false;

  Side(const void* data, size_t bytes) : data(data), bytes(bytes) {
    const Allocation* found = findAllocation(data, bytes);
    if (found == nullptr) return;
    allocation = found->number;
    onDevice = found->space == Space::device;
  }
  // At the time the work runs.
  bool lives() const { return allocation == 0 || isLive(allocation, data, bytes); }
};

void failFreed(const char* what, const Side& side) {
  setStickyError(cudaErrorIllegalAddress, format("%s of %zu bytes, by the time it runs: %s", what, side.bytes,
                                                 nameAddress(side.data).c_str()));
}

cudaError_t checkSide(const char* what, const Side& side, bool onDevice) {
  if (side.onDevice == onDevice) return cudaSuccess;
  return refuse(cudaErrorInvalidValue,
                format("copy of %zu bytes: the %s is no %s memory of that size: %s", side.bytes, what,
                       onDevice ? "device" : "host", nameAddress(side.data).c_str()));
}

cudaError_t checkKind(const Side& target, const Side& source, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDefault) return cudaSuccess;
  const bool toDevice = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool fromDevice = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const cudaError_t status = checkSide("target", target, toDevice);
  return status != cudaSuccess ? status : checkSide("source", source, fromDevice);
}

bool overlap(const void* a, const void* b, size_t bytes) {
  const auto from = reinterpret_cast<uintptr_t>(a), other = reinterpret_cast<uintptr_t>(b);
  return from < other + bytes && other < from + bytes;
}

cudaError_t copyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  const Side target(to, bytes), source(from, bytes);
  if (const cudaError_t status = checkKind(target, source, kind); status != cudaSuccess) return status;
  if (overlap(to, from, bytes)) return refuse(cudaErrorInvalidValue, "a copy between overlapping places");

  // From memory of the program CUDA takes the bytes before the call returns.
  std::shared_ptr<std::vector<char>> taken;
  if (source.allocation == 0) {
    const auto* begin = static_cast<const char*>(from);
    taken = std::make_shared<std::vector<char>>(begin, begin + bytes);
  }
  const cudaError_t status = enqueue(stream, [target, source, taken, to, bytes] {
    if (!target.lives()) return failFreed("target of a copy", target);
    if (!source.lives()) return failFreed("source of a copy", source);
    memcpy(to, taken ? taken->data() : source.data, bytes);
  });
  // To memory of the program the copy is over when the call returns.
  return status == cudaSuccess && target.allocation == 0 ? finishStream(stream) : status;
}

cudaError_t setAsync(void* device, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  const Side target(device, bytes);
  if (!target.onDevice) {
    return refuse(cudaErrorInvalidValue,
                  format("setting %zu bytes from %s on", bytes, nameAddress(device).c_str()));
  }
  return enqueue(stream, [target, device, value, bytes] {
    if (!target.lives()) return failFreed("target of a memset", target);
    memset(device, value, bytes);
  });
}

cudaError_t checkDevice(int device) {
  return device == 0 ? cudaSuccess
                     : refuse(cudaErrorInvalidDevice, format("device %d; there is only 0", device));
}

}  // namespace

cudaError_t queueKernel(const cudaLaunchConfig_t& config, Kernel kernel) {
  return guarded([&] {
    const dim3 grid = kernel.grid = config.gridDim, size = kernel.block = config.blockDim;
    kernel.dynamicBytes = config.dynamicSmemBytes;
    const auto refuseLaunch = [&](cudaError_t status, const char* why) {
      return refuse(
          status,
          format("kernel %s with grid (%u, %u, %u), block (%u, %u, %u) and %zu bytes of dynamic shared "
                 "memory: %s",
                 functionName(kernel.function).c_str(), grid.x, grid.y, grid.z, size.x, size.y, size.z,
                 kernel.dynamicBytes, why));
    };
    const uint64_t threads = uint64_t{size.x} * size.y * size.z;
    if (threads == 0 || threads > kMaxThreads || size.z > kMaxThreadsZ) {
      return refuseLaunch(cudaErrorInvalidConfiguration,
                          "a block has 1 to 1024 threads, at most 64 of them along z");
    }
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > kMaxGridX || grid.y > kMaxGridYZ ||
        grid.z > kMaxGridYZ) {
      return refuseLaunch(cudaErrorInvalidConfiguration, "a grid has 1 to 2^31 - 1 by 65535 by 65535 blocks");
    }
    if (!isDynamicSharedAllowed(kernel.function, kernel.dynamicBytes)) {
      return refuseLaunch(cudaErrorInvalidValue,
                          "more than 48 KiB must be asked for with cudaFuncSetAttribute");
    }
    return enqueue(config.stream, [kernel = std::move(kernel)] { runGrid(kernel); });
  });
}

}  // namespace cuda_host

using namespace cuda_host;

// ---- launches ---------------------------------------------------------------------------------------------

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  return guarded([&] { return allowDynamicShared(kernel, static_cast<size_t>(value)); });
}

// ---- memory -----------------------------------------------------------------------------------------------

cudaError_t cudaMalloc(void** device, size_t bytes) {
  return guarded([&] { return allocate(Space::device, bytes, device); });
}

cudaError_t cudaFree(void* device) {
  return guarded([&] {
    const cudaError_t status = finishAll();
    return status != cudaSuccess ? status : release(Space::device, device);
  });
}

cudaError_t cudaMallocHost(void** host, size_t bytes) {
  return guarded([&] { return allocate(Space::pinned, bytes, host); });
}

cudaError_t cudaHostAlloc(void** host, size_t bytes, unsigned) { return cudaMallocHost(host, bytes); }

// Does not wait: whoever frees the memory of a copy still queued hears of it.
cudaError_t cudaFreeHost(void* host) {
  return guarded([&] { return release(Space::pinned, host); });
}

// The memory is there at once, which is early; it goes when the stream gets there.
cudaError_t cudaMallocAsync(void** device, size_t bytes, cudaStream_t) { return cudaMalloc(device, bytes); }

cudaError_t cudaFreeAsync(void* device, cudaStream_t stream) {
  return guarded([&] {
    return enqueue(stream, [device] {
      const cudaError_t status = release(Space::device, device);
      if (status != cudaSuccess) setStickyError(status, "cudaFreeAsync of memory that is not allocated");
    });
  });
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  *pool = nullptr;
  return guarded([&] { return checkDevice(device); });
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }

cudaError_t cudaMemGetInfo(size_t* freeBytes, size_t* totalBytes) {
  return guarded([&] {
    *totalBytes = totalDeviceBytes();
    *freeBytes = *totalBytes - usedDeviceBytes();
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return guarded([&] { return copyAsync(target, source, bytes, kind, stream); });
}

cudaError_t cudaMemcpy(void* target, const void* source, size_t bytes, cudaMemcpyKind kind) {
  return guarded([&] {
    const cudaError_t status = copyAsync(target, source, bytes, kind, nullptr);
    return status != cudaSuccess ? status : finishStream(nullptr);
  });
}

cudaError_t cudaMemsetAsync(void* device, int value, size_t bytes, cudaStream_t stream) {
  return guarded([&] { return setAsync(device, value, bytes, stream); });
}

cudaError_t cudaMemset(void* device, int value, size_t bytes) {
  return cudaMemsetAsync(device, value, bytes, nullptr);
}

// ---- devices ----------------------------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = currentDevice;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  return guarded([&] {
    const cudaError_t status = checkDevice(device);
    if (status == cudaSuccess) currentDevice = device;
    return status;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return guarded([&] {
    *properties = {};
    strcpy(properties->name, "CUDA on the CPU");
    properties->totalGlobalMem = totalDeviceBytes();
    properties->major = kComputeMajor;
    properties->minor = kComputeMinor;
    properties->multiProcessorCount = kMultiprocessors;
    return checkDevice(device);
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  return guarded([&] {
    switch (attribute) {
      case cudaDevAttrMultiProcessorCount:
        *value = kMultiprocessors;
        break;
      case cudaDevAttrComputeCapabilityMajor:
        *value = kComputeMajor;
        break;
      case cudaDevAttrComputeCapabilityMinor:
        *value = kComputeMinor;
        break;
      case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = static_cast<int>(kMaxSharedBytes);
        break;
    }
    return checkDevice(device);
  });
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = kRuntimeVersion;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kRuntimeVersion;
  return cudaSuccess;
}
