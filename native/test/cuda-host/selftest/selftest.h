// Test infrastructure (../README.md): what the tests of the stand-in share. They print "N passed, N failed".
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "cuda_host/control.h"

namespace selftest {

constexpr int kSeeds = 20;

struct Test {
  const char* name;
  void (*run)();
};
std::vector<Test>& tests();
struct Registration {
  Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }
};
#define TEST(name)                                                     \
  static void name();                                                  \
  static const selftest::Registration name##Registration(#name, name); \
  static void name()

// Fails the running test, which goes on.
void fail(const char* file, int line, const std::string& what);
bool hasFailed();
#define EXPECT(condition) \
  if (!(condition)) selftest::fail(__FILE__, __LINE__, #condition)
// Of calls of the runtime.
#define SUCCEED(call)                                           \
  if (const cudaError_t status = (call); status != cudaSuccess) \
  selftest::fail(__FILE__, __LINE__, std::string(#call) + ": " + cudaGetErrorString(status))

// Whether the program is built with AddressSanitizer and UndefinedBehaviorSanitizer, which end it at an
// error.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitizer = true;
#else
constexpr bool kSanitizer = false;
#endif

// Runs the action in a process of its own, and gives back what it wrote to stderr.
std::string errorsOf(const std::function<void()>& action);
// Fails unless each of the texts is in what the action writes to stderr.
void expectErrors(const char* file, int line, const std::function<void()>& action,
                  const std::vector<std::string>& texts);
#define EXPECT_ERROR(action, ...) selftest::expectErrors(__FILE__, __LINE__, action, {__VA_ARGS__})

template <typename... Parameters, typename... Arguments>
cudaError_t launch(dim3 grid, dim3 block, size_t sharedBytes, cudaStream_t stream,
                   void (*kernel)(Parameters...), Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = sharedBytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

// Launches on the default stream and waits.
template <typename... Parameters, typename... Arguments>
cudaError_t run(dim3 grid, dim3 block, size_t sharedBytes, void (*kernel)(Parameters...),
                Arguments... arguments) {
  const cudaError_t status = launch(grid, block, sharedBytes, nullptr, kernel, arguments...);
  return status != cudaSuccess ? status : cudaDeviceSynchronize();
}

// Device memory with the way there and back.
template <typename T>
class Device {
 public:
  explicit Device(size_t count) : count_(count) { SUCCEED(cudaMalloc(&data_, count * sizeof(T))); }
  explicit Device(const std::vector<T>& values) : Device(values.size()) {
    SUCCEED(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~Device() { cudaFree(data_); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  T* data() const { return data_; }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    SUCCEED(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t count_;
};

}  // namespace selftest
