#include "library.h"

#include <cuda_runtime.h>

#include "../core/error.h"
#include "backend_cuda.h"
#include "collectives.h"

// The library keeps every other name to itself.
#define SRALIGN_EXPORT __attribute__((visibility("default")))

namespace sralign::cuda {

namespace {

// The kernels use bf16 arithmetic and the matrix instructions of Ampere.
constexpr int kLowestComputeMajor = 8;

// Such as "13.0", of 1000 major + 10 minor.
std::string versionName(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

LibraryInfo versions() {
  LibraryInfo info;
  cudaDriverGetVersion(&info.driverVersion);
  cudaRuntimeGetVersion(&info.runtimeVersion);
  return info;
}

// How many devices there are, and the reason in `info` where there are none.
int countDevices(LibraryInfo& info) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();  // reported here, so it must not show up again at the next call
  if (status == cudaSuccess && count > 0) return count;
  if (info.driverVersion == 0) {
    info.reason = "no NVIDIA driver is installed on this machine";
  } else if (status == cudaErrorInsufficientDriver) {
    info.reason = "the NVIDIA driver is too old: it serves CUDA " + versionName(info.driverVersion) +
                  ", and the library was built with " + versionName(info.runtimeVersion) +
                  "; update the driver";
  } else if (status == cudaSuccess || status == cudaErrorNoDevice) {
    info.reason = "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES hides those it does not name)";
  } else {
    info.reason = std::string("the NVIDIA driver does not start: ") + cudaGetErrorString(status);
  }
  return 0;
}

DeviceInfo describeDevice(int device) {
  DeviceInfo info;
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "query the GPU");
  info.name = properties.name;
  info.computeMajor = properties.major;
  info.computeMinor = properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.totalBytes = properties.totalGlobalMem;
  size_t totalBytes = 0;
  if (cudaSetDevice(device) != cudaSuccess || cudaMemGetInfo(&info.freeBytes, &totalBytes) != cudaSuccess) {
    cudaGetLastError();
    info.freeBytes = 0;
  }
  return info;
}

void requireDevice(int device) {
  LibraryInfo info = versions();
  const int count = countDevices(info);
  if (count == 0) throw EngineError("ERR_CUDA", "no GPU can be used: " + info.reason);
  if (device < 0 || device >= count) {
    throw EngineError("ERR_CUDA", "GPU " + std::to_string(device) + " does not exist: there " +
                                      (count == 1 ? "is 1, number 0"
                                                  : "are " + std::to_string(count) + ", numbers 0 to " +
                                                        std::to_string(count - 1)));
  }
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "query the GPU");
  if (properties.major < kLowestComputeMajor) {
    throw EngineError("ERR_CUDA", "GPU " + std::to_string(device) + " (" + properties.name +
                                      ") has compute capability " + std::to_string(properties.major) + "." +
                                      std::to_string(properties.minor) + ", and at least " +
                                      std::to_string(kLowestComputeMajor) + ".0 (Ampere) is needed");
  }
}

}  // namespace

}  // namespace sralign::cuda

extern "C" {

SRALIGN_EXPORT int sralign_cuda_library_version() { return sralign::cuda::kLibraryVersion; }

SRALIGN_EXPORT void sralign_cuda_describe(sralign::cuda::LibraryInfo* info) {
  *info = sralign::cuda::versions();
  const int count = sralign::cuda::countDevices(*info);
  for (int device = 0; device < count; ++device) {
    info->devices.push_back(sralign::cuda::describeDevice(device));
  }
}

SRALIGN_EXPORT sralign::Backend* sralign_cuda_create(int device) {
  sralign::cuda::requireDevice(device);
  return new sralign::cuda::CudaBackend(device);
}

SRALIGN_EXPORT void sralign_cuda_nccl_id(char* id) { sralign::cuda::createNcclId(id); }

SRALIGN_EXPORT sralign::Collectives* sralign_cuda_collectives(sralign::Backend* backend, int rank, int size,
                                                              const char* id) {
  auto& cuda = static_cast<sralign::cuda::CudaBackend&>(*backend);
  return sralign::cuda::openNccl(cuda.current(), rank, size, id).release();
}
}
