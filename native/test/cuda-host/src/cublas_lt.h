// Test infrastructure (../README.md): what the descriptors of cuBLASLt hold.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <string>

#include "matrix_product.h"

namespace cuda_host {

// Explains on stderr. Returns `status`.
cublasStatus_t refuseProduct(cublasStatus_t status, const std::string& why);

}  // namespace cuda_host

struct cublasLtHostContext {};

struct cublasLtHostMatmulDesc {
  int32_t compute, scale;
  int32_t transposeA = CUBLAS_OP_N, transposeB = CUBLAS_OP_N;
  uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  int32_t biasType = -1;  // that of D
};

struct cublasLtHostMatrixLayout {
  uint32_t type;
  uint64_t rows, columns;
  int64_t ld;
  int32_t order = CUBLASLT_ORDER_COL, batches = 1;
  int64_t batchStep = 0;

  size_t elementBytes() const { return type == CUDA_R_32F ? 4 : 2; }
  bool isColumnMajor() const { return order == CUBLASLT_ORDER_COL; }
  uint64_t inner() const { return isColumnMajor() ? rows : columns; }
  uint64_t outer() const { return isColumnMajor() ? columns : rows; }
  size_t bytes() const {
    const auto batchElements = static_cast<uint64_t>(batches - 1) * static_cast<uint64_t>(batchStep);
    return (batchElements + (outer() - 1) * static_cast<uint64_t>(ld) + inner()) * elementBytes();
  }
  cuda_host::Matrix matrix(const void* data, int batch) const {
    const auto* begin =
        static_cast<const char*>(data) + batch * batchStep * static_cast<int64_t>(elementBytes());
    return {begin, type == CUDA_R_32F ? cuda_host::Number::f32 : cuda_host::Number::bf16,
            isColumnMajor() ? 1 : ld, isColumnMajor() ? ld : 1};
  }
};

struct cublasLtHostMatmulPreference {
  uint64_t workspaceBytes = 0;
  uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t alignmentA = 256, alignmentB = 256, alignmentC = 256, alignmentD = 256;
};
