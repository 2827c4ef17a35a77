// Test infrastructure (../README.md): kernels with a mistake each, which the stand-in must tell.
#include <cstring>

#include "selftest.h"

using namespace selftest;

namespace {

constexpr unsigned kAll = 0xffffffffu;

// ---- waits ------------------------------------------------------------------------------------------------

// Each thread reads its neighbour's number. `barrier` is what it takes.
template <bool barrier>
__global__ void neighbourKernel(int* out) {
  SRALIGN_SHARED(int, values, 64);
  const int thread = threadIdx.x;
  values[thread] = thread;
  if (barrier) __syncthreads();
  out[thread] = values[(thread + 1) % 64];
}

// A block reduction whose partial sums are overwritten before everybody has read them.
__global__ void hastyKernel(int* out, int laps) {
  SRALIGN_SHARED(int, partial, 2);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int wrong = 0;
  for (int lap = 0; lap < laps; ++lap) {
    if (lane == 0) partial[warp] = lap;
    __syncthreads();
    wrong += partial[0] + partial[1] != 2 * lap;
    __syncwarp();
  }
  if (wrong != 0) atomicAdd(out, 1);
}

TEST(missingBarriersGiveWrongValues) {
  int wrongWith = 0, wrongWithout = 0, wrongHasty = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    cuda_host::setSeed(static_cast<uint64_t>(seed));
    Device<int> with(64), without(64), hasty(std::vector<int>{0});
    SUCCEED(run(1, 64, 0, neighbourKernel<true>, with.data()));
    SUCCEED(run(1, 64, 0, neighbourKernel<false>, without.data()));
    SUCCEED(run(1, 64, 0, hastyKernel, hasty.data(), 4));
    std::vector<int> expected(64);
    for (int i = 0; i < 64; ++i) expected[static_cast<size_t>(i)] = (i + 1) % 64;
    wrongWith += with.read() != expected;
    wrongWithout += without.read() != expected;
    wrongHasty += hasty.read()[0] != 0;
  }
  EXPECT(wrongWith == 0);
  EXPECT(wrongWithout > kSeeds / 2);
  EXPECT(wrongHasty > kSeeds / 4);
}

__global__ void dividedKernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void halfBarrierKernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else if (threadIdx.x < 48) {
    __shfl_sync(kAll, 1, 0);
  } else {
    __syncthreads();
  }
}
__global__ void exitedLaneKernel() {
  if (threadIdx.x == 5) return;
  __shfl_sync(kAll, 1, 0);
}
__global__ void strangerKernel() { __shfl_sync(0xfffffffeu, 1, 1); }
__global__ void twoMasksKernel() { __syncwarp(threadIdx.x < 16 ? kAll : 0xfffffffeu); }
__global__ void twoPlacesKernel() {
  if (threadIdx.x % 2 == 0) {
    __shfl_sync(kAll, 1, 0);
  } else {
    __shfl_sync(kAll, 2, 0);
  }
}
__global__ void twoStepsKernel() {
  if (threadIdx.x % 2 == 0) {
    __ballot_sync(kAll, true);
  } else {
    __syncwarp();
  }
}
__global__ void outsideSourceKernel() {
  if (threadIdx.x < 16) __shfl_down_sync(0xffffu, 1, 8);
}
__global__ void partWarpKernel() { __syncwarp(); }
__global__ void barrierInLoopKernel() {
  for (unsigned i = 0; i < threadIdx.x % 2 + 1; ++i) __syncthreads();
  __shfl_sync(kAll, 1, 0);
}

TEST(divergedThreadsAreTold) {
  EXPECT_ERROR([] { run(1, 64, 0, dividedKernel); }, "dividedKernel", "block (0, 0, 0)",
               "__syncthreads at wrong.cc:", "another one");
  EXPECT_ERROR([] { run(1, 64, 0, halfBarrierKernel); }, "halfBarrierKernel");
  EXPECT_ERROR([] { run(1, 64, 0, exitedLaneKernel); }, "exitedLaneKernel", "exit", "5");
  EXPECT_ERROR([] { run(1, 32, 0, strangerKernel); }, "strangerKernel", "thread (0, 0, 0)",
               "does not name the calling lane 0");
  EXPECT_ERROR([] { run(1, 32, 0, twoMasksKernel); }, "twoMasksKernel", "with another mask, 0x");
  EXPECT_ERROR([] { run(1, 32, 0, twoPlacesKernel); }, "twoPlacesKernel", "__shfl_sync (wrong.cc:");
  EXPECT_ERROR([] { run(1, 32, 0, twoStepsKernel); }, "twoStepsKernel", "__syncwarp", "__ballot_sync");
  EXPECT_ERROR([] { run(1, 32, 0, outsideSourceKernel); }, "outsideSourceKernel",
               "which mask 0x0000ffff does not name");
  EXPECT_ERROR([] { run(1, 33, 0, partWarpKernel); }, "partWarpKernel", "lanes that do not exist: 1-31");
  EXPECT_ERROR([] { run(1, 32, 0, barrierInLoopKernel); }, "barrierInLoopKernel", "wait for each other",
               "at __syncthreads (wrong.cc:", "at __shfl_sync (wrong.cc:");
}

// ---- memory -----------------------------------------------------------------------------------------------

__global__ void storeKernel(int* data, long index) {
  if (blockIdx.x == 1 && threadIdx.x == 3) data[index] = 1;
}
__global__ void loadKernel(const float* data, long index, float* out) { *out = data[index]; }
__global__ void sharedStoreKernel(int index) {
  SRALIGN_SHARED(int, first, 5);
  SRALIGN_SHARED(int, second, 5);
  int* data = first;
  asm volatile("" : "+r"(data));  // so that the compiler does not look
  data[index] = 1;
  second[0] = first[0];
}
__global__ void dynamicStoreKernel(int index) {
  SRALIGN_DYNAMIC_SHARED(memory);
  memory[index] = 1;
}

TEST(writesOutsideAreTold) {
  Device<int> data(10), other(5000);
  const char* kernel =
      kSanitizer ? "kernel storeKernel, block (1, 0, 0), thread (3, 0, 0)" : "kernel storeKernel";
  EXPECT_ERROR([&] { run(2, 4, 0, storeKernel, data.data(), 10L); }, kernel,
               "0 bytes after the end of device allocation", "(40 bytes)");
  EXPECT_ERROR([&] { run(2, 4, 0, storeKernel, data.data(), 30L); }, kernel, "80 bytes after the end");
  EXPECT_ERROR([&] { run(2, 4, 0, storeKernel, data.data(), -1L); }, kernel, "4 bytes before the start");
  EXPECT_ERROR([&] { run(2, 4, 0, storeKernel, other.data(), 5200L); },
               "kernel storeKernel, block (1, 0, 0), thread (3, 0, 0)", "after the end", "(20000 bytes)");
  EXPECT_ERROR([&] { run(2, 4, 0, storeKernel, static_cast<int*>(nullptr), 4L); },
               "kernel storeKernel, block (1, 0, 0), thread (3, 0, 0)");
  EXPECT_ERROR([&] { run(1, 1, 0, sharedStoreKernel, 5); }, "sharedStoreKernel",
               "0 bytes after the end of shared array first (20 bytes)");
  EXPECT_ERROR([&] { run(1, 1, 0, sharedStoreKernel, -2); }, "sharedStoreKernel", "8 bytes before the start");
  EXPECT_ERROR([&] { run(1, 1, 100, dynamicStoreKernel, 101); }, "dynamicStoreKernel",
               "1 bytes after the end", "(dynamic) (100 bytes)");
  EXPECT_ERROR([&] { run(1, 1, 100, dynamicStoreKernel, 112); }, "dynamicStoreKernel",
               "12 bytes after the end");
}

TEST(readsOutsideAreToldOrGiveNaN) {
  Device<float> data(std::vector<float>(10)), out(1);
  if (kSanitizer) {
    EXPECT_ERROR([&] { run(1, 1, 0, loadKernel, data.data(), 10L, out.data()); }, "loadKernel",
                 "0 bytes after the end");
  } else {
    SUCCEED(run(1, 1, 0, loadKernel, data.data(), 10L, out.data()));
    EXPECT(std::isnan(out.read()[0]));
  }
  EXPECT_ERROR([&] { run(1, 1, 0, loadKernel, data.data(), 64L, out.data()); }, "loadKernel",
               "216 bytes after the end");
}

TEST(freedMemoryIsTold) {
  Device<float> out(1);
  float* freed = nullptr;
  SUCCEED(cudaMalloc(&freed, 100));
  SUCCEED(cudaFree(freed));
  EXPECT_ERROR([&] { run(1, 1, 0, loadKernel, freed, 3L, out.data()); }, "kernel loadKernel", "byte 12 of",
               "which was freed");
}

__global__ void undefinedKernel(float* out, int* integers) {
  SRALIGN_SHARED(float, values, 4);
  SRALIGN_DYNAMIC_SHARED(memory);
  out[blockIdx.x] = values[1] + reinterpret_cast<float*>(memory)[1];
  integers[blockIdx.x] = reinterpret_cast<int*>(values)[2];
  values[1] = reinterpret_cast<float*>(memory)[1] = 1;
}

TEST(undefinedMemoryIsNaN) {
  Device<float> out(2), untouched(3);
  Device<double> doubles(3);
  Device<int> integers(2);
  SUCCEED(run(2, 1, 16, undefinedKernel, out.data(), integers.data()));
  for (const float value : out.read()) EXPECT(std::isnan(value));
  for (const float value : untouched.read()) EXPECT(std::isnan(value));
  for (const double value : doubles.read()) EXPECT(std::isnan(value));
  for (const int value : integers.read()) EXPECT(value > 1'000'000'000);
}

__global__ void vectorKernel(const float* in, float4* out) { *out = *reinterpret_cast<const float4*>(in); }
__global__ void pairKernel(const float* in, float2* out) { *out = *reinterpret_cast<const float2*>(in); }

TEST(misalignedAccessIsTold) {
  Device<float> in(std::vector<float>(16));
  Device<float4> four(1);
  Device<float2> two(1);
  SUCCEED(run(1, 1, 0, vectorKernel, in.data() + 4, four.data()));
  const char* kernel = "kernel vectorKernel, block (0, 0, 0), thread (0, 0, 0)";
  EXPECT_ERROR([&] { run(1, 1, 0, vectorKernel, in.data() + 2, four.data()); }, kernel, "float4");
  EXPECT_ERROR([&] { run(1, 1, 0, pairKernel, in.data() + 1, two.data()); }, "float2", "wrong.cc:");
}

__global__ void deepKernel(int depth, int* out) {
  volatile char frame[4096];
  frame[depth % 4096] = 1;
  if (depth > 0) deepKernel(depth - 1, out);
  *out = frame[0];
}
__global__ void divideKernel(int* out, int by) { *out = 7 / by; }

TEST(otherFaultsAreTold) {
  Device<int> out(1);
  EXPECT_ERROR([&] { run(1, 1, 0, deepKernel, 10000, out.data()); }, "overflows its stack");
  EXPECT_ERROR([&] { run(1, 1, 0, divideKernel, out.data(), 0); },
               kSanitizer ? "division by zero" : "divides an integer by zero");
}

// ---- launches ---------------------------------------------------------------------------------------------

__global__ void emptyKernel(int*) {}
__global__ void staticKernel() {
  SRALIGN_SHARED(char, values, 4096);
  values[0] = 1;
}

TEST(launchesOverTheLimitsAreRefused) {
  int* none = nullptr;
  EXPECT(run(1, 1025, 0, emptyKernel, none) == cudaErrorInvalidConfiguration);
  EXPECT(run(1, dim3(1, 1, 65), 0, emptyKernel, none) == cudaErrorInvalidConfiguration);
  EXPECT(run(0, 1, 0, emptyKernel, none) == cudaErrorInvalidConfiguration);
  EXPECT(run(dim3(1, 65536), 1, 0, emptyKernel, none) == cudaErrorInvalidConfiguration);
  EXPECT(strstr(cudaGetErrorString(cudaErrorInvalidConfiguration), "emptyKernel") != nullptr);
  EXPECT(run(1, 1, 48 * 1024 + 1, emptyKernel, none) == cudaErrorInvalidValue);
  EXPECT(cudaFuncSetAttribute(emptyKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024 + 1) ==
         cudaErrorInvalidValue);
  EXPECT(cudaGetLastError() != cudaSuccess);
  SUCCEED(run(1, 1, 44 * 1024, staticKernel));
  EXPECT_ERROR([] { run(1, 1, 45 * 1024, staticKernel); }, "staticKernel", "without cudaFuncSetAttribute");
  SUCCEED(cudaFuncSetAttribute(staticKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024));
  SUCCEED(run(1, 1, 223 * 1024, staticKernel));
  EXPECT_ERROR([] { run(1, 1, 224 * 1024, staticKernel); }, "staticKernel", "at most 232448");
}

TEST(errorsStay) {
  if (kSanitizer) return;  // it ends the process
  cuda_host::printErrors(false);
  Device<int> data(10);
  SUCCEED(launch(2, 4, 0, nullptr, storeKernel, data.data(), 10L));
  EXPECT(cudaGetLastError() == cudaSuccess);  // nothing ran yet
  EXPECT(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
  int* more = nullptr;
  EXPECT(cudaMalloc(&more, 4) == cudaErrorIllegalAddress);
  EXPECT(cudaGetLastError() == cudaErrorIllegalAddress);
  EXPECT(cudaGetLastError() == cudaErrorIllegalAddress);
  EXPECT(strstr(cudaGetErrorString(cudaErrorIllegalAddress), "storeKernel") != nullptr);
  cuda_host::clearError();
  cuda_host::printErrors(true);
  SUCCEED(run(2, 4, 0, storeKernel, data.data(), 9L));
}

}  // namespace
