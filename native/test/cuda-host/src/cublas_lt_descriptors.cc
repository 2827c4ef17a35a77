// Test infrastructure (../README.md): the descriptors of cuBLASLt and their attributes.
#include <cstring>
#include <mutex>

#include "cublas_lt.h"
#include "errors.h"

using namespace cuda_host;

namespace {

cublasStatus_t store(void* field, size_t fieldBytes, const void* value, size_t bytes) {
  const std::lock_guard lock(deviceLock);
  if (field == nullptr)
    return refuseProduct(CUBLAS_STATUS_INVALID_VALUE, "an attribute that is not known here");
  if (bytes != fieldBytes) {
    return refuseProduct(CUBLAS_STATUS_INVALID_VALUE,
                         format("an attribute of %zu bytes is given with %zu", fieldBytes, bytes));
  }
  memcpy(field, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T, typename... Values>
cublasStatus_t create(T** handle, Values... values) {
  *handle = new T{values...};
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T>
cublasStatus_t destroy(T* handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

cublasStatus_t cuda_host::refuseProduct(cublasStatus_t status, const std::string& why) {
  explain(std::string("cuBLASLt, ") + cublasLtGetStatusName(status) + ": " + why);
  return status;
}

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "unknown cublasStatus_t";
}
const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) { return create(handle); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return destroy(handle); }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  return create(operation, static_cast<int32_t>(compute), static_cast<int32_t>(scale));
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) { return destroy(operation); }

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t bytes) {
  const auto set = [&](auto& field) { return store(&field, sizeof field, value, bytes); };
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
      return set(operation->compute);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
      return set(operation->scale);
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return set(operation->transposeA);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return set(operation->transposeB);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return set(operation->epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return set(operation->bias);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return set(operation->biasType);
  }
  return store(nullptr, 0, value, bytes);
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
  return create(layout, static_cast<uint32_t>(type), rows, columns, ld);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return destroy(layout); }

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  const auto set = [&](auto& field) { return store(&field, sizeof field, value, bytes); };
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
      return set(layout->type);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return set(layout->order);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return set(layout->rows);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return set(layout->columns);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return set(layout->ld);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return set(layout->batches);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return set(layout->batchStep);
  }
  return store(nullptr, 0, value, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return create(preference);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy(preference);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  const auto set = [&](auto& field) { return store(&field, sizeof field, value, bytes); };
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return set(preference->workspaceBytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return set(preference->reductions);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return set(preference->alignmentA);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return set(preference->alignmentB);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return set(preference->alignmentC);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return set(preference->alignmentD);
  }
  return store(nullptr, 0, value, bytes);
}
