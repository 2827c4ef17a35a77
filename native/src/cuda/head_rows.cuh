// Where the heads of a tensor lie, for the operations that go through them one by one.
#pragma once

#include "common.cuh"

namespace sralign::cuda {

// The rows of each head of a tensor; strides in elements.
struct HeadRows {
  void* data;
  int64_t rowStride, headStride;

  template <typename T>
  __device__ __forceinline__ T* at(int64_t row, int64_t head) const {
    return static_cast<T*>(data) + row * rowStride + head * headStride;
  }
};

inline HeadRows headRows(const TensorView& view, int64_t column, int64_t headStride) {
  return {static_cast<char*>(view.data) + column * sizeOf(view.dtype), view.shape[1], headStride};
}
inline HeadRows queryRows(const TensorView& qkv, const HeadShape& heads) {
  return headRows(qkv, heads.queryOffset(0), heads.queryOffset(1) - heads.queryOffset(0));
}
inline HeadRows keyRows(const TensorView& qkv, const HeadShape& heads) {
  return headRows(qkv, heads.keyOffset(0), heads.keyOffset(1) - heads.keyOffset(0));
}
inline HeadRows valueRows(const TensorView& qkv, const HeadShape& heads) {
  return headRows(qkv, heads.valueOffset(0), heads.valueOffset(1) - heads.valueOffset(0));
}

// Whether every row of every head can be read 16 bytes at a time: all strides are multiples of headDim.
template <typename... Views>
bool wholeVectors(const HeadShape& heads, const Views&... views) {
  const auto fits = [&](const TensorView& view) {
    return aligned16(view.data) && heads.headDim * sizeOf(view.dtype) % 16 == 0;
  };
  return (fits(views) && ...);
}

}  // namespace sralign::cuda
