// A matrix product, as both backends take it, and the products of the linear layer.
#pragma once

#include <cstdint>

#include "../backend.h"

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

// out = x weight^T + bias
inline MatmulArgs productOf(const LinearArgs& args) {
  const int64_t tokens = args.x.shape[0], inputs = args.x.shape[1], outputs = args.weight.shape[0];
  return {.transposeB = true,
          .m = tokens,
          .n = outputs,
          .k = inputs,
          .a = args.x.data,
          .lda = inputs,
          .aType = args.x.dtype,
          .b = args.weight.data,
          .ldb = inputs,
          .bType = args.weight.dtype,
          .c = args.out.data,
          .ldc = outputs,
          .cType = args.out.dtype,
          .bias = args.bias.f32()};
}

// dX = dOut weight
inline MatmulArgs productOf(const LinearBackwardInputArgs& args) {
  const int64_t tokens = args.dOut.shape[0], outputs = args.dOut.shape[1], inputs = args.weight.shape[1];
  return {.m = tokens,
          .n = inputs,
          .k = outputs,
          .a = args.dOut.data,
          .lda = outputs,
          .aType = args.dOut.dtype,
          .b = args.weight.data,
          .ldb = inputs,
          .bType = args.weight.dtype,
          .c = args.dX.data,
          .ldc = inputs,
          .cType = args.dX.dtype,
          .beta = args.accumulate ? 1.0f : 0.0f};
}

// dWeight += dOut^T x
inline MatmulArgs productOf(const LinearBackwardWeightArgs& args) {
  const int64_t tokens = args.dOut.shape[0], outputs = args.dOut.shape[1], inputs = args.x.shape[1];
  return {.transposeA = true,
          .m = outputs,
          .n = inputs,
          .k = tokens,
          .a = args.dOut.data,
          .lda = outputs,
          .aType = args.dOut.dtype,
          .b = args.x.data,
          .ldb = inputs,
          .bType = args.x.dtype,
          .c = args.dWeight.data,
          .ldc = inputs,
          .beta = 1};
}

}  // namespace sralign
