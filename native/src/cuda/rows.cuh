// Kernels that meet every element of a matrix once but treat its rows apart: a block takes a stretch of one
// row, so that finding the row costs one division a block.
#pragma once

#include "groups.cuh"

namespace sralign::cuda {

constexpr int kRowThreads = 256;

struct RowBlocks {
  dim3 grid, block;
  unsigned stretches;  // blocks of a row
};

// Blocks for rows of `width` elements in groups of `group`: as few as kRowThreads allows, of equal size.
inline RowBlocks rowBlocks(int64_t rows, int64_t width, int group) {
  const int64_t groups = ceilDiv(width, group), stretches = ceilDiv(groups, kRowThreads);
  const int threads = wholeWarps(ceilDiv(groups, stretches));
  return {gridOf(rows * stretches), dim3(static_cast<unsigned>(threads)), static_cast<unsigned>(stretches)};
}

// Where the group of this thread starts; `column` may lie behind the end of the row.
struct RowPlace {
  int64_t row, column;
};

template <int kGroup>
__device__ __forceinline__ RowPlace rowPlace(unsigned stretches) {
  const unsigned row = blockIdx.x / stretches, stretch = blockIdx.x % stretches;
  return {row, (int64_t{stretch} * blockDim.x + threadIdx.x) * kGroup};
}

}  // namespace sralign::cuda
