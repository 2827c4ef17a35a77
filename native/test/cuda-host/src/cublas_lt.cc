// Test infrastructure (../README.md): cuBLASLt's matrix product, with the combinations of types its manual
// lists under cublasLtMatmul for computation in f32. What it refuses it explains on stderr.
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "cublas_lt.h"
#include "errors.h"
#include "matrix_product.h"
#include "memory.h"
#include "streams.h"

using namespace cuda_host;

namespace {

using Operation = cublasLtHostMatmulDesc;
using Layout = cublasLtHostMatrixLayout;

// What stands in cublasLtMatmulAlgo_t::data.
struct Algorithm {
  uint64_t problem;  // a digest of the operation and its layouts
  uint64_t alignmentA, alignmentB, alignmentC, alignmentD;
  uint64_t workspaceBytes;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

// Every product takes some workspace and leaves rubbish there, as algorithms of NVIDIA may.
constexpr uint64_t kWorkspaceBytes = 128 * 1024;

std::string describe(const char* name, const Layout& layout) {
  return format("%s %s[%lu, %lu] ld %ld %s", name, layout.type == CUDA_R_32F ? "f32" : "bf16", layout.rows,
                layout.columns, layout.ld, layout.isColumnMajor() ? "by columns" : "by rows");
}

uint64_t digest(const Operation& operation, std::initializer_list<const Layout*> layouts) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&](uint64_t value) { hash = (hash ^ value) * 0x100000001b3u; };
  for (const int64_t value :
       {operation.compute, operation.transposeA, operation.transposeB, operation.biasType}) {
    add(static_cast<uint64_t>(value));
  }
  add(operation.epilogue);
  for (const Layout* layout : layouts) {
    add(layout->type);
    add(layout->rows);
    add(layout->columns);
    add(static_cast<uint64_t>(layout->ld));
    add(static_cast<uint64_t>(layout->order));
    add(static_cast<uint64_t>(layout->batches));
    add(static_cast<uint64_t>(layout->batchStep));
  }
  return hash;
}

struct Shape {
  uint64_t m, n, k;
};

Shape shapeOf(const Operation& operation, const Layout& a, const Layout& d) {
  return {d.rows, d.columns, operation.transposeA == CUBLAS_OP_N ? a.columns : a.rows};
}

// SUCCESS, or why there is no such product.
cublasStatus_t checkProblem(const Operation& operation, const Layout& a, const Layout& b, const Layout& c,
                            const Layout& d) {
  const bool plainA = operation.transposeA == CUBLAS_OP_N, plainB = operation.transposeB == CUBLAS_OP_N;
  const auto [m, n, k] = shapeOf(operation, a, d);
  const std::string all = describe("A", a) + (plainA ? ", " : "^T, ") + describe("B", b) +
                          (plainB ? ", " : "^T, ") + describe("D", d);
  const auto refuseIt = [&](cublasStatus_t status, const std::string& why) {
    return refuseProduct(status, why + "; " + all);
  };
  if ((plainA ? a.rows : a.columns) != m || (plainB ? b.rows : b.columns) != k ||
      (plainB ? b.columns : b.rows) != n || c.rows != m || c.columns != n) {
    return refuseIt(CUBLAS_STATUS_INVALID_VALUE, "the sizes do not fit");
  }
  if (m == 0 || n == 0 || k == 0) return refuseIt(CUBLAS_STATUS_INVALID_VALUE, "an empty matrix");
  for (const Layout* layout : {&a, &b, &c, &d}) {
    if (layout->ld < static_cast<int64_t>(layout->inner())) {
      return refuseIt(CUBLAS_STATUS_INVALID_VALUE, "a leading dimension is shorter than what it leads over");
    }
    if (layout->batches != d.batches) return refuseIt(CUBLAS_STATUS_INVALID_VALUE, "the batches differ");
  }
  const bool f32 = a.type == CUDA_R_32F && d.type == CUDA_R_32F;
  const bool bf16 = a.type == CUDA_R_16BF && (d.type == CUDA_R_32F || d.type == CUDA_R_16BF);
  if (operation.scale != CUDA_R_32F || a.type != b.type || c.type != d.type || !(f32 || bf16)) {
    return refuseIt(CUBLAS_STATUS_NOT_SUPPORTED, "no such combination of types");
  }
  if (operation.compute != CUBLAS_COMPUTE_32F &&
      !(f32 && operation.compute == CUBLAS_COMPUTE_32F_FAST_TF32)) {
    return refuseIt(CUBLAS_STATUS_NOT_SUPPORTED, "no such type of computation");
  }
  if (operation.epilogue != CUBLASLT_EPILOGUE_DEFAULT && operation.epilogue != CUBLASLT_EPILOGUE_BIAS) {
    return refuseIt(CUBLAS_STATUS_NOT_SUPPORTED, "an epilogue that is not known here");
  }
  if (operation.epilogue == CUBLASLT_EPILOGUE_BIAS && operation.biasType != -1 &&
      operation.biasType != static_cast<int32_t>(d.type)) {
    return refuseIt(CUBLAS_STATUS_NOT_SUPPORTED, "the bias has another type than D");
  }
  return CUBLAS_STATUS_SUCCESS;
}

// The matrix lies in one allocation and is aligned as the algorithm was told.
cublasStatus_t checkPlace(const char* name, const void* data, size_t bytes, uint64_t alignment) {
  if (findAllocation(data, bytes) == nullptr) {
    const std::string where = describeAddress(data);
    return refuseProduct(CUBLAS_STATUS_INVALID_VALUE,
                         format("%s takes %zu bytes, which are not all there: %s", name, bytes,
                                where.empty() ? "no device memory" : where.c_str()));
  }
  if (reinterpret_cast<uintptr_t>(data) % alignment != 0) {
    return refuseProduct(CUBLAS_STATUS_INVALID_VALUE,
                         format("%s at %p, but the algorithm was asked for with an alignment of %lu bytes",
                                name, data, alignment));
  }
  return CUBLAS_STATUS_SUCCESS;
}

bool overlap(const void* a, size_t aBytes, const void* b, size_t bBytes) {
  const auto x = reinterpret_cast<uintptr_t>(a), y = reinterpret_cast<uintptr_t>(b);
  return x < y + bBytes && y < x + aBytes;
}

}  // namespace

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t* results, int* returned) {
  const std::lock_guard lock(deviceLock);
  *returned = 0;
  if (requested < 1) return refuseProduct(CUBLAS_STATUS_INVALID_VALUE, "no algorithm is asked for");
  if (const cublasStatus_t status = checkProblem(*operation, *a, *b, *c, *d);
      status != CUBLAS_STATUS_SUCCESS) {
    return status;
  }
  const Algorithm algorithm = {
      digest(*operation, {a, b, c, d}), preference->alignmentA,
      preference->alignmentB,           preference->alignmentC,
      preference->alignmentD,           std::min(preference->workspaceBytes, kWorkspaceBytes)};
  results[0] = {};
  memcpy(&results[0].algo, &algorithm, sizeof algorithm);
  results[0].workspaceSize = algorithm.workspaceBytes;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  results[0].wavesCount = 1;
  *returned = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t aLayout, const void* b,
                              cublasLtMatrixLayout_t bLayout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t cLayout, void* d, cublasLtMatrixLayout_t dLayout,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, size_t workspaceBytes,
                              cudaStream_t stream) {
  const std::lock_guard lock(deviceLock);
  if (stickyError() != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
  cublasStatus_t status = checkProblem(*operation, *aLayout, *bLayout, *cLayout, *dLayout);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  Algorithm algorithm = {0, 1, 1, 1, 1, 0};
  if (algo != nullptr) {
    memcpy(&algorithm, algo, sizeof algorithm);
    if (algorithm.problem != digest(*operation, {aLayout, bLayout, cLayout, dLayout})) {
      return refuseProduct(CUBLAS_STATUS_INVALID_VALUE, "the algorithm was found for another problem");
    }
  }
  Product product;
  const auto [m, n, k] = shapeOf(*operation, *aLayout, *dLayout);
  product.m = static_cast<int64_t>(m);
  product.n = static_cast<int64_t>(n);
  product.k = static_cast<int64_t>(k);
  memcpy(&product.alpha, alpha, sizeof(float));
  memcpy(&product.beta, beta, sizeof(float));
  product.tf32 = operation->compute == CUBLAS_COMPUTE_32F_FAST_TF32;

  struct Place {
    const char* name;
    const void* data;
    size_t bytes;
    uint64_t alignment;
    uint64_t allocation = 0;
  };
  std::vector<Place> places = {{"A", a, aLayout->bytes(), algorithm.alignmentA},
                               {"B", b, bLayout->bytes(), algorithm.alignmentB},
                               {"D", d, dLayout->bytes(), algorithm.alignmentD}};
  if (product.beta != 0) places.push_back({"C", c, cLayout->bytes(), algorithm.alignmentC});
  if (operation->epilogue == CUBLASLT_EPILOGUE_BIAS) {
    places.push_back({"the bias", operation->bias, m * dLayout->elementBytes(), dLayout->elementBytes()});
    product.bias = {operation->bias, dLayout->matrix(d, 0).number, 1, 0};
  }
  if (algorithm.workspaceBytes > workspaceBytes) {
    return refuseProduct(CUBLAS_STATUS_INVALID_VALUE,
                         format("the algorithm takes %lu bytes of workspace, given are %zu",
                                algorithm.workspaceBytes, workspaceBytes));
  }
  if (workspaceBytes > 0) places.push_back({"the workspace", workspace, workspaceBytes, 256});
  for (Place& place : places) {
    status = checkPlace(place.name, place.data, place.bytes, place.alignment);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    place.allocation = findAllocation(place.data, place.bytes)->number;
    const bool inPlace = place.data == d && strcmp(place.name, "C") == 0;
    if (place.data != d || strcmp(place.name, "D") != 0) {
      if (!inPlace && overlap(place.data, place.bytes, d, dLayout->bytes())) {
        return refuseProduct(CUBLAS_STATUS_INVALID_VALUE, format("D overlaps with %s", place.name));
      }
    }
  }
  if (product.beta != 0 && c == d && digest(*operation, {cLayout}) != digest(*operation, {dLayout})) {
    return refuseProduct(CUBLAS_STATUS_INVALID_VALUE, "C is D, but they are laid out differently");
  }

  const auto run = [=, layouts = std::array{*aLayout, *bLayout, *cLayout, *dLayout},
                    plainA = operation->transposeA == CUBLAS_OP_N,
                    plainB = operation->transposeB == CUBLAS_OP_N]() mutable {
    for (const Place& place : places) {
      if (isLive(place.allocation, place.data, place.bytes)) continue;
      return setStickyError(cudaErrorIllegalAddress,
                            format("cublasLtMatmul: by the time it runs, %s is no longer there: %s",
                                   place.name, describeAddress(place.data).c_str()));
    }
    if (algorithm.workspaceBytes > 0) fillPoison(workspace, algorithm.workspaceBytes);
    for (int batch = 0; batch < layouts[3].batches; ++batch) {
      product.a = layouts[0].matrix(a, batch);
      product.b = layouts[1].matrix(b, batch);
      product.c = layouts[2].matrix(c, batch);
      if (!plainA) std::swap(product.a.rowStep, product.a.columnStep);
      if (!plainB) std::swap(product.b.rowStep, product.b.columnStep);
      const Matrix target = layouts[3].matrix(d, batch);
      product.d = const_cast<void*>(target.data);
      product.dNumber = target.number;
      product.dRowStep = target.rowStep;
      product.dColumnStep = target.columnStep;
      multiply(product);
    }
  };
  return enqueue(stream, run) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
