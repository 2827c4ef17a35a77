// Test infrastructure (../README.md): the tensor core instructions of mma_host.h, once all 32 lanes are
// there. The layouts are those of the PTX manual, "Matrix Fragments for mma.m16n8k16 with floating point
// type" and "ldmatrix".
#include "mma_host.h"

namespace cuda_host {
namespace {

float low(uint32_t pair) { return __bfloat162float(__ushort_as_bfloat16(static_cast<unsigned short>(pair))); }
float high(uint32_t pair) {
  return __bfloat162float(__ushort_as_bfloat16(static_cast<unsigned short>(pair >> 16)));
}

}  // namespace

void completeProduct(unsigned, void* const (&lanes)[32]) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& record = *static_cast<const ProductLane*>(lanes[lane]);
    const int row = lane / 4, column = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      const int r = row + i % 2 * 8, c = column + i / 2 * 8;
      a[r][c] = low((*record.a)[i]);
      a[r][c + 1] = high((*record.a)[i]);
    }
    for (int i = 0; i < 2; ++i) {
      b[column + i * 8][row] = low((*record.b)[i]);
      b[column + i * 8 + 1][row] = high((*record.b)[i]);
    }
  }
  float d[16][8] = {};
  for (int r = 0; r < 16; ++r) {
    for (int k = 0; k < 16; ++k) {
      for (int c = 0; c < 8; ++c) d[r][c] += a[r][k] * b[k][c];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    float (&out)[4] = *static_cast<const ProductLane*>(lanes[lane])->d;
    const int row = lane / 4, column = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) out[i] += d[row + i / 2 * 8][column + i % 2];
  }
}

void completeLoadMatrix(unsigned, void* const (&lanes)[32]) {
  uint16_t matrix[4][8][8];
  for (int lane = 0; lane < 32; ++lane) {
    const void* row = static_cast<const MatrixLane*>(lanes[lane])->row;
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
      failThread(cudaErrorMisalignedAddress, "ldmatrix: lane %d gives the row %p, not 16-byte aligned", lane,
                 row);
    }
    if (!isShared(row, 16)) {
      failThread(cudaErrorIllegalAddress, "ldmatrix: lane %d gives the row %p, not in shared memory", lane,
                 row);
    }
    memcpy(matrix[lane / 8][lane % 8], row, 16);
  }
  for (int lane = 0; lane < 32; ++lane) {
    const auto& record = *static_cast<const MatrixLane*>(lanes[lane]);
    const int row = lane / 4, column = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      const auto& m = matrix[i];
      const uint32_t first = record.transposed ? m[column][row] : m[row][column];
      const uint32_t second = record.transposed ? m[column + 1][row] : m[row][column + 1];
      (*record.m)[i] = first | second << 16;
    }
  }
}

}  // namespace cuda_host
