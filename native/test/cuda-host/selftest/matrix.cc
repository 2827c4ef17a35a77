// Test infrastructure (../README.md): tensor core products, their loads, and asynchronous copies.
#include <cuda_bf16.h>
#include <mma_host.h>

#include "selftest.h"

using namespace selftest;
using namespace sralign::cuda;

namespace {

std::vector<__nv_bfloat16> numbers(size_t count, float step) {
  std::vector<__nv_bfloat16> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = __nv_bfloat16(std::sin(step * static_cast<float>(i + 1)));
  return values;
}

// c[16, 8] = a[16, 16] b[16, 8], all by rows. a through ldmatrix; b through ldmatrix.trans, or element by
// element as the manual's table of fragments says.
__global__ void productKernel(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, bool byElement) {
  SRALIGN_SHARED(__nv_bfloat16, aTile, 256);
  SRALIGN_SHARED(__nv_bfloat16, bTile, 128);
  const int lane = threadIdx.x, group = lane / 4, column = lane % 4 * 2;
  for (int i = lane; i < 256; i += 32) aTile[i] = a[i];
  for (int i = lane; i < 128; i += 32) bTile[i] = b[i];
  __syncwarp();
  uint32_t aFragment[4], pairs[4], bFragment[2];
  // Matrices 0-3: rows 0-7 and 8-15 of the left half, then of the right half.
  loadMatrix4(aFragment, &aTile[(lane % 16) * 16 + lane / 16 * 8]);
  loadMatrix4Transposed(pairs, &bTile[(lane % 16) * 8]);
  for (int i = 0; i < 2; ++i) {
    const int row = column + 8 * i;
    const float low = bTile[row * 8 + group], high = bTile[(row + 1) * 8 + group];
    bFragment[i] = byElement ? packBf16(low, high) : pairs[i];
  }
  float sums[4] = {0, 0, 0, 0};
  mmaBf16M16N8K16(sums, aFragment, bFragment);
  for (int i = 0; i < 4; ++i) c[(group + i / 2 * 8) * 8 + column + i % 2] = sums[i];
}

TEST(tensorCoreProduct) {
  const auto a = numbers(256, 0.7f), b = numbers(128, 1.3f);
  Device<__nv_bfloat16> aDevice(a), bDevice(b);
  for (const bool byElement : {false, true}) {
    Device<float> c(128);
    SUCCEED(run(1, 32, 0, productKernel, aDevice.data(), bDevice.data(), c.data(), byElement));
    const std::vector<float> got = c.read();
    for (size_t i = 0; i < 16; ++i) {
      for (size_t j = 0; j < 8; ++j) {
        double expected = 0;
        for (size_t k = 0; k < 16; ++k) expected += double{a[i * 16 + k]} * double{b[k * 8 + j]};
        EXPECT(std::abs(got[i * 8 + j] - expected) < 1e-5);
      }
    }
  }
}

// out = 2 * in, tile by tile, the next tile on its way meanwhile. `pending` 1 is right; 2 waits for too
// little.
template <int pending>
__global__ void pipelineKernel(const float* in, float* out, int tiles) {
  SRALIGN_SHARED(float, buffer, 2 * 128);
  const int thread = threadIdx.x;
  const auto start = [&](int tile) {
    const bool valid = tile < tiles;
    copyAsync16(&buffer[tile % 2 * 128 + thread * 4], valid ? &in[tile * 128 + thread * 4] : nullptr, valid);
    copyAsyncCommit();
  };
  start(0);
  for (int tile = 0; tile < tiles; ++tile) {
    start(tile + 1);
    copyAsyncWait<pending>();
    __syncthreads();
    for (int i = 0; i < 4; ++i)
      out[tile * 128 + i * 32 + thread] = 2 * buffer[tile % 2 * 128 + i * 32 + thread];
    __syncthreads();
  }
}

template <int pending>
int wrongPipelines() {
  std::vector<float> in(6 * 128), expected(6 * 128);
  for (size_t i = 0; i < in.size(); ++i) expected[i] = 2 * (in[i] = static_cast<float>(i));
  Device<float> device(in);
  int wrong = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    cuda_host::setSeed(static_cast<uint64_t>(seed));
    Device<float> out(in.size());
    SUCCEED(run(1, 32, 0, pipelineKernel<pending>, device.data(), out.data(), 6));
    wrong += out.read() != expected;
  }
  return wrong;
}

TEST(asynchronousCopies) { EXPECT(wrongPipelines<1>() == 0); }
TEST(asynchronousCopiesWithoutTheirWaitShow) { EXPECT(wrongPipelines<2>() > 0); }

__global__ void strayCopyKernel(float* out) { copyAsync16(out, out, true); }
__global__ void strayLoadKernel(float* out) {
  uint32_t m[4];
  loadMatrix4(m, out);
}
__global__ void skewedCopyKernel(const float* in) {
  SRALIGN_SHARED(float, buffer, 8);
  copyAsync16(buffer, in + 1, true);
}

TEST(strayMatrixInstructions) {
  Device<float> out(64);
  EXPECT_ERROR([&] { run(1, 32, 0, strayCopyKernel, out.data()); }, "strayCopyKernel",
               "not in shared memory");
  EXPECT_ERROR([&] { run(1, 32, 0, strayLoadKernel, out.data()); }, "strayLoadKernel", "ldmatrix");
  EXPECT_ERROR([&] { run(1, 32, 0, skewedCopyKernel, out.data()); }, "misaligned address");
}

}  // namespace
