// Test infrastructure: the functions of native/src/cuda/mma.cuh on the CPU (see README.md), with the register
// layouts of the PTX manual. A warp's product waits for all 32 lanes; an asynchronous copy happens at a
// random time between its start and the wait for it, so that a missing wait or barrier shows.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda_bf16.h"
#include "cuda_runtime.h"

namespace cuda_host {

struct ProductLane {
  float (*d)[4];
  const uint32_t (*a)[4];
  const uint32_t (*b)[2];
};
struct MatrixLane {
  uint32_t (*m)[4];
  const void* row;
  bool transposed;
};
// src/warp_matrix.cc
void completeProduct(unsigned mask, void* const (&lanes)[32]);
void completeLoadMatrix(unsigned mask, void* const (&lanes)[32]);

// src/async_copy.cc
void startCopy(void* shared, const void* global, size_t bytes, bool valid);
void commitCopies();
void waitForCopies(int pending);

}  // namespace cuda_host

namespace sralign::cuda {

inline void mmaBf16M16N8K16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                            const cuda_host::Site& site = cuda_host::Site::current()) {
  cuda_host::ProductLane lane{&d, &a, &b};
  cuda_host::meetLanes("mma.sync", 0xffffffffu, &lane, cuda_host::completeProduct, site);
}

inline void loadMatrix4(uint32_t (&m)[4], const void* row,
                        const cuda_host::Site& site = cuda_host::Site::current()) {
  cuda_host::MatrixLane lane{&m, row, false};
  cuda_host::meetLanes("ldmatrix", 0xffffffffu, &lane, cuda_host::completeLoadMatrix, site);
}
inline void loadMatrix4Transposed(uint32_t (&m)[4], const void* row,
                                  const cuda_host::Site& site = cuda_host::Site::current()) {
  cuda_host::MatrixLane lane{&m, row, true};
  cuda_host::meetLanes("ldmatrix.trans", 0xffffffffu, &lane, cuda_host::completeLoadMatrix, site);
}

inline void copyAsync16(void* shared, const void* global, bool valid) {
  cuda_host::startCopy(shared, global, 16, valid);
}
inline void copyAsyncCommit() { cuda_host::commitCopies(); }
template <int kPending>
inline void copyAsyncWait() {
  cuda_host::waitForCopies(kPending);
}

inline uint32_t packBf16(float low, float high) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(low)) |
         static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_rn(high))) << 16;
}

inline float exp2Fast(float x) {
  const float power = exp2f(x);
  return power < 0x1p-126f ? 0.0f : power;
}

}  // namespace sralign::cuda
