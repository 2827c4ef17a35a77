// What an operation sees of a tensor: a pointer into device memory, a type and a shape.
// Ownership and lifetime are in core/table.h; the backends never allocate or free what they are given.
#pragma once

#include <cstdint>

namespace sralign {

enum class DType : int32_t { f32 = 0, bf16 = 1, i32 = 2 };

constexpr int64_t sizeOf(DType dtype) { return dtype == DType::bf16 ? 2 : 4; }

constexpr const char* nameOf(DType dtype) {
  return dtype == DType::f32 ? "f32" : dtype == DType::bf16 ? "bf16" : "i32";
}

struct TensorView {
  void* data = nullptr;  // null stands for "not given" where an argument is optional
  DType dtype = DType::f32;
  int rank = 0;
  int64_t shape[4] = {1, 1, 1, 1};
  const int32_t* host = nullptr;  // i32 only: the same numbers in host memory (on the CPU `data` itself)

  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  int64_t bytes() const { return numel() * sizeOf(dtype); }
  explicit operator bool() const { return data != nullptr; }
  float* f32() const { return static_cast<float*>(data); }
  uint16_t* bf16() const { return static_cast<uint16_t*>(data); }
  int32_t* i32() const { return static_cast<int32_t*>(data); }
};

}  // namespace sralign
