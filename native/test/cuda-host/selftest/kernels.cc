// Test infrastructure (../README.md): kernels that must work, whatever the order of their threads.
#include <cuda_bf16.h>

#include <numeric>

#include "selftest.h"

using namespace selftest;

namespace {

__global__ void countKernel(int* counts, int3 expected, int* wrong) {
  const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const int threads = blockDim.x * blockDim.y * blockDim.z;
  if (static_cast<int>(gridDim.x * gridDim.y * gridDim.z) != expected.x || threads != expected.y)
    atomicAdd(wrong, 1);
  atomicAdd(&counts[block * threads + thread], 1 + thread);
}

TEST(indicesComeOnceEach) {
  for (const auto& [grid, block] :
       {std::pair{dim3(7, 3, 2), dim3(5, 4, 3)}, {dim3(1), dim3(1024)}, {dim3(65), dim3(33)}}) {
    const int blocks = grid.x * grid.y * grid.z, threads = block.x * block.y * block.z;
    Device<int> counts(std::vector<int>(static_cast<size_t>(blocks * threads), 0)),
        wrong(std::vector<int>{0});
    SUCCEED(run(grid, block, 0, countKernel, counts.data(), int3{blocks, threads, 0}, wrong.data()));
    const std::vector<int> got = counts.read();
    int bad = 0;
    for (int i = 0; i < blocks * threads; ++i) bad += got[static_cast<size_t>(i)] != 1 + i % threads;
    EXPECT(bad == 0);
    EXPECT(wrong.read()[0] == 0);
  }
}

// out[10][64]: a row per kind of shuffle or vote.
template <typename T>
__global__ void shuffleKernel(T* out) {
  const int thread = threadIdx.x, lane = thread % 32;
  const T value = static_cast<T>(100 * (thread / 32) + lane);
  const auto write = [&](int row, T result) { out[row * 64 + thread] = result; };
  write(0, __shfl_sync(0xffffffffu, value, 7));
  write(1, __shfl_xor_sync(0xffffffffu, value, 5));
  write(2, __shfl_up_sync(0xffffffffu, value, 3));
  write(3, __shfl_down_sync(0xffffffffu, value, 3));
  write(4, __shfl_sync(0xffffffffu, value, lane + 1, 8));
  write(5, __shfl_up_sync(0xffffffffu, value, 3, 8));
  write(6, __shfl_down_sync(0xffffffffu, value, 3, 8));
  write(7, static_cast<T>(__popc(__ballot_sync(0xffffffffu, lane % 3 == 0))));
  write(8, static_cast<T>(__any_sync(0xffffffffu, lane == 31) * 2 + __any_sync(0xffffffffu, false)));
  write(9, static_cast<T>(__all_sync(0xffffffffu, lane < 32) * 2 + __all_sync(0xffffffffu, lane != 4)));
}

template <typename T>
void checkShuffles() {
  for (int seed = 0; seed < kSeeds; ++seed) {
    cuda_host::setSeed(static_cast<uint64_t>(seed));
    Device<T> out(10 * 64);
    SUCCEED(run(1, 64, 0, shuffleKernel<T>, out.data()));
    const std::vector<T> got = out.read();
    int wrong = 0;
    for (int thread = 0; thread < 64; ++thread) {
      const int warp = thread / 32 * 100, lane = thread % 32, eighth = lane / 8 * 8;
      const int expected[10] = {warp + 7,
                                warp + (lane ^ 5),
                                warp + (lane < 3 ? lane : lane - 3),
                                warp + (lane + 3 > 31 ? lane : lane + 3),
                                warp + eighth + (lane + 1) % 8,
                                warp + (lane - 3 < eighth ? lane : lane - 3),
                                warp + (lane + 3 >= eighth + 8 ? lane : lane + 3),
                                11,
                                2,
                                2};
      for (int row = 0; row < 10; ++row) {
        wrong += got[static_cast<size_t>(row * 64 + thread)] != static_cast<T>(expected[row]);
      }
    }
    EXPECT(wrong == 0);
  }
}

TEST(shufflesAndVotes) {
  checkShuffles<int>();
  checkShuffles<unsigned>();
  checkShuffles<float>();
  checkShuffles<double>();
  checkShuffles<long long>();
}

// Halves of a warp go their own ways and meet again.
__global__ void halvesKernel(int* out) {
  const int lane = threadIdx.x;
  int sum = lane;
  if (lane < 16) {
    for (int distance = 8; distance > 0; distance /= 2) sum += __shfl_xor_sync(0x0000ffffu, sum, distance);
  } else {
    for (int distance = 8; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffff0000u, sum, distance);
    __syncwarp(0xffff0000u);
  }
  __syncwarp();
  out[lane] = sum + __shfl_xor_sync(0xffffffffu, sum, 16);
}

TEST(partsOfAWarp) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    cuda_host::setSeed(static_cast<uint64_t>(seed));
    Device<int> out(32);
    SUCCEED(run(1, 32, 0, halvesKernel, out.data()));
    EXPECT(out.read() == std::vector<int>(32, 31 * 32 / 2));
  }
}

// sums[block] = sum of 0 .. blockDim.x - 1 plus the block's number times the threads; `laps` times over.
__global__ void reduceKernel(float* sums, int laps) {
  SRALIGN_SHARED(float, partial, 32);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float total = 0;
  for (int lap = 0; lap < laps; ++lap) {
    float value = static_cast<float>(threadIdx.x + blockIdx.x);
    for (int distance = 16; distance > 0; distance /= 2)
      value += __shfl_xor_sync(0xffffffffu, value, distance);
    if (lane == 0) partial[warp] = value;
    __syncthreads();
    value = lane < static_cast<int>(blockDim.x / 32) ? partial[lane] : 0.0f;
    for (int distance = 16; distance > 0; distance /= 2)
      value += __shfl_xor_sync(0xffffffffu, value, distance);
    __syncthreads();
    total += value;
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

TEST(blockReductions) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    cuda_host::setSeed(static_cast<uint64_t>(seed));
    for (const int threads : {32, 96, 256, 1024}) {
      Device<float> sums(5);
      SUCCEED(run(5, threads, 0, reduceKernel, sums.data(), 4));
      const std::vector<float> got = sums.read();
      for (int block = 0; block < 5; ++block) {
        EXPECT(got[static_cast<size_t>(block)] ==
               4.0f * static_cast<float>(threads * (threads - 1) / 2 + block * threads));
      }
    }
  }
}

// A thread that leaves early does not hold up the others' barriers.
__global__ void leavingKernel(int* out, int count) {
  SRALIGN_SHARED(int, values, 64);
  const int thread = threadIdx.x;
  if (thread >= count) return;
  values[thread] = thread;
  __syncthreads();
  out[thread] = values[(thread + 1) % count];
}

TEST(exitedThreadsDoNotCount) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    cuda_host::setSeed(static_cast<uint64_t>(seed));
    Device<int> out(40);
    SUCCEED(run(1, 64, 0, leavingKernel, out.data(), 40));
    const std::vector<int> got = out.read();
    for (int i = 0; i < 40; ++i) EXPECT(got[static_cast<size_t>(i)] == (i + 1) % 40);
  }
}

// Reverses the block's part of `values` through dynamic shared memory.
__global__ void reverseKernel(int* values, int count) {
  SRALIGN_DYNAMIC_SHARED(memory);
  int* tile = reinterpret_cast<int*>(memory);
  for (int i = threadIdx.x; i < count; i += blockDim.x) tile[i] = values[i];
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += blockDim.x) values[i] = tile[count - 1 - i];
}

TEST(dynamicSharedMemory) {
  SUCCEED(cudaFuncSetAttribute(reverseKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024));
  for (const int count : {1, 31, 12288, 227 * 256}) {
    std::vector<int> values(static_cast<size_t>(count));
    std::iota(values.begin(), values.end(), 5);
    Device<int> device(values);
    SUCCEED(run(1, 128, static_cast<size_t>(count) * 4, reverseKernel, device.data(), count));
    EXPECT(device.read() == std::vector<int>(values.rbegin(), values.rend()));
  }
}

struct Large {
  int values[100];
};
__global__ void sumKernel(Large large, const int* __restrict__ factor, int* out) {
  *out = *factor * std::accumulate(large.values, large.values + 100, 0);
}

TEST(argumentsAreTakenAtTheLaunch) {
  Large large;
  std::iota(large.values, large.values + 100, 0);
  Device<int> factor(std::vector<int>{3}), out(1);
  SUCCEED(launch(1, 1, 0, nullptr, sumKernel, large, factor.data(), out.data()));
  large = {};
  EXPECT(out.read()[0] == 3 * 4950);
}

TEST(bf16Rounds) {
  int wrong = 0;
  for (uint32_t high = 0; high < 0x10000; ++high) {
    for (const uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const float value = std::bit_cast<float>(high << 16 | low);
      const uint16_t got = __bfloat16_as_ushort(__float2bfloat16_rn(value));
      uint32_t expected = high;
      if (std::isnan(value)) {
        expected = 0x7fff;
      } else if (low > 0x8000 || (low == 0x8000 && (high & 1))) {
        expected = high + 1;
      }
      wrong += got != expected;
    }
  }
  EXPECT(wrong == 0);
  EXPECT(__bfloat162float(__float2bfloat16_rn(1.0f)) == 1.0f);
}

TEST(memoryIsReportedUsed) {
  size_t before = 0, after = 0, total = 0;
  SUCCEED(cudaMemGetInfo(&before, &total));
  Device<char> some(1000);
  SUCCEED(cudaMemGetInfo(&after, &total));
  EXPECT(before - after == 1000);
  void* tooMuch = nullptr;
  EXPECT(cudaMalloc(&tooMuch, total) == cudaErrorMemoryAllocation);
  EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation);
  EXPECT(cudaGetLastError() == cudaSuccess);
}

}  // namespace
