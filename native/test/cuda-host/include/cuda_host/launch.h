// Test infrastructure (../../README.md): launches. The arguments are copied at the call, as on a device.
#pragma once

#include <memory>
#include <tuple>
#include <utility>

#include "api.h"
#include "types.h"

// NOLINTBEGIN: the names are CUDA's
struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
// NOLINTEND

namespace cuda_host {

// A launch: `run(arguments)` is the kernel for one thread.
struct Kernel {
  const void* function = nullptr;
  void (*run)(void*) = nullptr;
  std::shared_ptr<void> arguments;
  dim3 grid, block;
  size_t dynamicBytes = 0;
};
cudaError_t queueKernel(const cudaLaunchConfig_t& config, Kernel kernel);

template <typename... Parameters>
struct Call {
  void (*function)(Parameters...);
  std::tuple<Parameters...> arguments;
  static void run(void* call) {
    auto& [function, arguments] = *static_cast<Call*>(call);
    std::apply(function, arguments);
  }
};

}  // namespace cuda_host

// NOLINTBEGIN: the names are CUDA's
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value);
template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  using Call = cuda_host::Call<Parameters...>;
  cuda_host::Kernel launched;
  launched.function = reinterpret_cast<const void*>(kernel);
  launched.run = Call::run;
  launched.arguments = std::shared_ptr<Call>(
      new Call{kernel, std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)});
  return cuda_host::queueKernel(*config, std::move(launched));
}
// NOLINTEND
