// A matrix product, as both backends take it.
#pragma once

#include <cstdint>

#include "tensor.h"

namespace sralign {

// C[m, n] = op(A)[m, k] op(B)[k, n] + beta C, row-major. op transposes where the flag says so; `ld*` is the
// distance in elements between two rows of the matrix as it lies in memory. a and b have the same type.
// Accumulation is in f32 whatever the types; a bf16 C is rounded once, at the end.
struct MatmulArgs {
  bool transposeA = false, transposeB = false;
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  int64_t lda = 0;
  DType aType = DType::f32;
  const void* b = nullptr;
  int64_t ldb = 0;
  DType bType = DType::f32;
  void* c = nullptr;
  int64_t ldc = 0;
  DType cType = DType::f32;     // f32, or bf16 where a and b are bf16
  float beta = 0;               // 0 or 1; with 0 the old content of C is never read
  const float* bias = nullptr;  // f32 [n], added to every row before rounding; only with beta 0
};

}  // namespace sralign
