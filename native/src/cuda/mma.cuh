// The instructions of attention that have no C++ spelling: tensor core products, their loads from shared
// memory, and asynchronous copies into it. Compute capability 8.0 and later. native/test/cuda-host has them
// for the CPU.
//
// Layouts are for a warp; g = lane / 4, c = lane % 4. A register holds two bf16, the one with the lower index
// in the lower half. Every function but copyAsync*, packBf16 and exp2Fast is reached by all 32 lanes
// together.
#pragma once

#ifdef SRALIGN_CUDA_HOST
#include "mma_host.h"
#else

#include <cstdint>

namespace sralign::cuda {

// d [16, 8] += a [16, 16] b [16, 8], f32 += bf16 bf16.
//   d[0], d[1]: row g, columns 2c, 2c+1;  d[2], d[3]: row g+8, the same columns
//   a[0]: row g, columns 2c, 2c+1;  a[1]: row g+8, the same columns
//   a[2]: row g, columns 2c+8, 2c+9;  a[3]: row g+8, the same columns
//   b[0]: rows 2c, 2c+1 of column g;  b[1]: rows 2c+8, 2c+9 of column g
__device__ __forceinline__ void mmaBf16M16N8K16(float (&d)[4], const uint32_t (&a)[4],
                                                const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices of bf16 from shared memory. `row` of lane 8 i + r points to the 8 elements (16 bytes,
// 16-byte aligned) of row r of matrix i.
//   m[i]: row g, columns 2c, 2c+1 of matrix i
__device__ __forceinline__ void loadMatrix4(uint32_t (&m)[4], const void* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(address)
               : "memory");
}

// The same, each matrix transposed.
//   m[i]: rows 2c, 2c+1 of column g of matrix i
__device__ __forceinline__ void loadMatrix4Transposed(uint32_t (&m)[4], const void* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(address)
               : "memory");
}

// Starts a copy of 16 bytes to shared memory, both sides 16-byte aligned. Where not `valid`, writes zeros and
// does not read `global`.
__device__ __forceinline__ void copyAsync16(void* shared, const void* global, bool valid) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(address), "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
               : "memory");
}

// Makes a group of the copies this thread started since the last call; a group may be empty.
__device__ __forceinline__ void copyAsyncCommit() { asm volatile("cp.async.commit_group;" : : : "memory"); }

// Waits until at most `kPending` of this thread's latest groups are under way. Other threads see the bytes
// after
// __syncthreads.
template <int kPending>
__device__ __forceinline__ void copyAsyncWait() {
  asm volatile("cp.async.wait_group %0;" : : "n"(kPending) : "memory");
}

// Two bf16, rounded to nearest even, `low` in the lower half.
__device__ __forceinline__ uint32_t packBf16(float low, float high) {
  uint32_t both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
}

// 2^x within 2 units in the last place; 0 where that is below the normal numbers.
__device__ __forceinline__ float exp2Fast(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

}  // namespace sralign::cuda

#endif
