// Test infrastructure (../README.md): cuBLASLt's product against a sum in f64, and what it must refuse.
#include <cublasLt.h>
#include <cuda_bf16.h>

#include <chrono>

#include "selftest.h"

using namespace selftest;

namespace {

struct Case {
  int m, n, k;
  bool transposeA = false, transposeB = false, bf16 = false, bf16Out = false, rows = false, bias = false;
  float alpha = 1, beta = 0;
  int padding = 0;  // of the leading dimensions
  int batches = 1;
};

// A matrix in a type, with what its numbers became.
struct Values {
  bool bf16;
  std::vector<float> numbers;
  std::vector<__nv_bfloat16> rounded;

  Values(size_t count, bool bf16, float step) : bf16(bf16), numbers(count), rounded(count) {
    for (size_t i = 0; i < count; ++i) {
      rounded[i] = __nv_bfloat16(numbers[i] = std::sin(step * static_cast<float>(i % 9973 + 1)));
      if (bf16) numbers[i] = rounded[i];
    }
  }
  size_t bytes() const { return numbers.size() * (bf16 ? 2 : 4); }
  const void* data() const { return bf16 ? static_cast<const void*>(rounded.data()) : numbers.data(); }
};

// Device memory of exactly these bytes.
struct Bytes : Device<char> {
  explicit Bytes(const Values& values)
      : Device<char>(std::vector<char>(static_cast<const char*>(values.data()),
                                       static_cast<const char*>(values.data()) + values.bytes())) {}
};

template <typename Descriptor, typename Attribute, typename T>
void set(cublasStatus_t (*setter)(Descriptor, Attribute, const void*, size_t), Descriptor descriptor,
         Attribute attribute, T value) {
  EXPECT(setter(descriptor, attribute, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
}

// A product as cuBLASLt is told of it.
struct Problem {
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  cublasLtMatmulHeuristicResult_t found{};

  explicit Problem(const Case& c) {
    cublasLtCreate(&handle);
    cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    set(cublasLtMatmulDescSetAttribute, operation, CUBLASLT_MATMUL_DESC_TRANSA,
        c.transposeA ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(cublasLtMatmulDescSetAttribute, operation, CUBLASLT_MATMUL_DESC_TRANSB,
        c.transposeB ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (c.bias)
      set(cublasLtMatmulDescSetAttribute, operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    a = layout(c, c.bf16, c.transposeA ? c.k : c.m, c.transposeA ? c.m : c.k);
    b = layout(c, c.bf16, c.transposeB ? c.n : c.k, c.transposeB ? c.k : c.n);
    d = layout(c, c.bf16Out, c.m, c.n);
    cublasLtMatmulPreferenceCreate(&preference);
  }
  ~Problem() {
    cublasLtMatmulPreferenceDestroy(preference);
    for (cublasLtMatrixLayout_t one : {a, b, d}) cublasLtMatrixLayoutDestroy(one);
    cublasLtMatmulDescDestroy(operation);
    cublasLtDestroy(handle);
  }

  static int ldOf(const Case& c, int rows, int columns) { return (c.rows ? columns : rows) + c.padding; }
  static size_t sizeOf(const Case& c, int rows, int columns) {
    return static_cast<size_t>(ldOf(c, rows, columns)) * static_cast<size_t>(c.rows ? rows : columns);
  }
  static cublasLtMatrixLayout_t layout(const Case& c, bool bf16, int rows, int columns) {
    cublasLtMatrixLayout_t created = nullptr;
    cublasLtMatrixLayoutCreate(&created, bf16 ? CUDA_R_16BF : CUDA_R_32F, static_cast<uint64_t>(rows),
                               static_cast<uint64_t>(columns), ldOf(c, rows, columns));
    if (c.rows)
      set(cublasLtMatrixLayoutSetAttribute, created, CUBLASLT_MATRIX_LAYOUT_ORDER, CUBLASLT_ORDER_ROW);
    set(cublasLtMatrixLayoutSetAttribute, created, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, c.batches);
    set(cublasLtMatrixLayoutSetAttribute, created, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
        static_cast<int64_t>(sizeOf(c, rows, columns)));
    return created;
  }
  cublasStatus_t find() {
    int count = 0;
    return cublasLtMatmulAlgoGetHeuristic(handle, operation, a, b, d, d, preference, 1, &found, &count);
  }
  cublasStatus_t run(const void* aData, const void* bData, void* dData, float alpha = 1, float beta = 0) {
    return cublasLtMatmul(handle, operation, &alpha, aData, a, bData, b, &beta, dData, d, dData, d,
                          &found.algo, nullptr, 0, nullptr);
  }
};

void check(const Case& c) {
  const int aRows = c.transposeA ? c.k : c.m, aColumns = c.transposeA ? c.m : c.k;
  const int bRows = c.transposeB ? c.n : c.k, bColumns = c.transposeB ? c.k : c.n;
  const auto batches = static_cast<size_t>(c.batches);
  const size_t aSize = Problem::sizeOf(c, aRows, aColumns), bSize = Problem::sizeOf(c, bRows, bColumns),
               dSize = Problem::sizeOf(c, c.m, c.n);
  const Values a(aSize * batches, c.bf16, 0.7f), b(bSize * batches, c.bf16, 1.3f);
  const Values old(dSize * batches, c.bf16Out, 0.3f), bias(static_cast<size_t>(c.m), c.bf16Out, 2.1f);
  Bytes aDevice(a), bDevice(b), dDevice(old), biasDevice(bias);
  Problem problem(c);
  if (c.bias) {
    set(cublasLtMatmulDescSetAttribute, problem.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
        static_cast<const void*>(biasDevice.data()));
  }
  EXPECT(problem.find() == CUBLAS_STATUS_SUCCESS);
  EXPECT(problem.run(aDevice.data(), bDevice.data(), dDevice.data(), c.alpha, c.beta) ==
         CUBLAS_STATUS_SUCCESS);
  SUCCEED(cudaDeviceSynchronize());

  const std::vector<char> bytes = dDevice.read();
  const auto at = [&](int rows, int columns, int i, int j) {
    const size_t ld = static_cast<size_t>(Problem::ldOf(c, rows, columns));
    return c.rows ? static_cast<size_t>(i) * ld + static_cast<size_t>(j)
                  : static_cast<size_t>(j) * ld + static_cast<size_t>(i);
  };
  double worst = 0;
  for (size_t batch = 0; batch < batches; ++batch) {
    for (int i = 0; i < c.m; ++i) {
      for (int j = 0; j < c.n; ++j) {
        double sum = 0;
        for (int p = 0; p < c.k; ++p) {
          const size_t left = c.transposeA ? at(aRows, aColumns, p, i) : at(aRows, aColumns, i, p);
          const size_t right = c.transposeB ? at(bRows, bColumns, j, p) : at(bRows, bColumns, p, j);
          sum += double{a.numbers[batch * aSize + left]} * double{b.numbers[batch * bSize + right]};
        }
        const size_t index = batch * dSize + at(c.m, c.n, i, j);
        double expected = double{c.alpha} * sum;
        if (c.beta != 0) expected += double{c.beta} * double{old.numbers[index]};
        if (c.bias) expected += double{bias.numbers[static_cast<size_t>(i)]};
        double got;
        if (c.bf16Out) {
          __nv_bfloat16 value;
          memcpy(&value, bytes.data() + index * 2, 2);
          got = float{value};
        } else {
          float value;
          memcpy(&value, bytes.data() + index * 4, 4);
          got = value;
        }
        const double tolerance = 1e-5 * std::sqrt(c.k) + (c.bf16Out ? std::abs(expected) / 256 : 0);
        worst = std::max(worst, std::abs(got - expected) / tolerance);
      }
    }
  }
  EXPECT(worst <= 1);
}

TEST(products) {
  for (const bool bf16 : {false, true}) {
    for (const bool bf16Out : {false, true}) {
      if (bf16Out && !bf16) continue;
      for (int transposes = 0; transposes < 4; ++transposes) {
        Case c{.m = 33,
               .n = 17,
               .k = 65,
               .transposeA = (transposes & 1) != 0,
               .transposeB = transposes > 1,
               .bf16 = bf16,
               .bf16Out = bf16Out};
        check(c);
        c.beta = 1;
        c.padding = 3;
        check(c);
        c.rows = true;
        check(c);
        c.beta = 0;
        c.bias = true;
        c.alpha = 0.5f;
        check(c);
        c.batches = 3;
        check(c);
      }
    }
  }
  check({.m = 1, .n = 1, .k = 1});
  check({.m = 1, .n = 300, .k = 1000});
  check({.m = 300, .n = 1, .k = 31, .bf16 = true});
  check({.m = 257, .n = 263, .k = 521, .transposeA = true, .beta = 1});
}

TEST(unsupportedProducts) {
  cuda_host::printErrors(false);
  Problem mixed({.m = 8, .n = 8, .k = 8, .bf16 = false, .bf16Out = true});
  EXPECT(mixed.find() == CUBLAS_STATUS_NOT_SUPPORTED);
  Problem biased({.m = 8, .n = 8, .k = 8, .bf16 = true, .bf16Out = true, .bias = true});
  EXPECT(biased.find() == CUBLAS_STATUS_SUCCESS);
  set(cublasLtMatmulDescSetAttribute, biased.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
  EXPECT(biased.find() == CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT(cuda_host::errorMessage().find("the bias has another type than D") != std::string::npos);
  Problem narrow({.m = 8, .n = 8, .k = 8, .padding = -1});
  EXPECT(narrow.find() == CUBLAS_STATUS_INVALID_VALUE);
  Problem unequal({.m = 8, .n = 8, .k = 8});
  set(cublasLtMatrixLayoutSetAttribute, unequal.b, CUBLASLT_MATRIX_LAYOUT_ROWS, uint64_t{7});
  EXPECT(unequal.find() == CUBLAS_STATUS_INVALID_VALUE);
  const int8_t wrongSize = 1;
  EXPECT(cublasLtMatmulDescSetAttribute(narrow.operation, CUBLASLT_MATMUL_DESC_TRANSA, &wrongSize, 1) ==
         CUBLAS_STATUS_INVALID_VALUE);
  cuda_host::printErrors(true);
}

TEST(productsCheckTheirMemory) {
  cuda_host::printErrors(false);
  Problem problem({.m = 8, .n = 8, .k = 8});
  Device<float> a(std::vector<float>(65)), b(std::vector<float>(64)), d(std::vector<float>(64)), small(63);
  EXPECT(problem.find() == CUBLAS_STATUS_SUCCESS);
  EXPECT(problem.run(a.data(), b.data(), small.data()) == CUBLAS_STATUS_INVALID_VALUE);
  EXPECT(problem.run(a.data(), b.data(), a.data()) == CUBLAS_STATUS_INVALID_VALUE);
  EXPECT(problem.run(a.data() + 1, b.data(), d.data()) == CUBLAS_STATUS_INVALID_VALUE);
  EXPECT(cuda_host::errorMessage().find("alignment of 256") != std::string::npos);
  set(cublasLtMatmulPreferenceSetAttribute, problem.preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
      uint32_t{4});
  EXPECT(problem.find() == CUBLAS_STATUS_SUCCESS);
  EXPECT(problem.run(a.data() + 1, b.data(), d.data()) == CUBLAS_STATUS_SUCCESS);
  EXPECT(d.read()[0] == 0);
  set(cublasLtMatmulPreferenceSetAttribute, problem.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
      uint64_t{1} << 20);
  EXPECT(problem.find() == CUBLAS_STATUS_SUCCESS);
  EXPECT(problem.run(a.data(), b.data(), d.data()) == CUBLAS_STATUS_INVALID_VALUE);  // none is given
  set(cublasLtMatmulDescSetAttribute, problem.operation, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  EXPECT(problem.run(a.data(), b.data(), d.data()) ==
         CUBLAS_STATUS_INVALID_VALUE);  // found for another problem
  cuda_host::printErrors(true);
}

TEST(productsAreQueued) {
  Device<float> a(std::vector<float>(64, 1.0f)), b(std::vector<float>(64, 1.0f)),
      d(std::vector<float>(64, 5.0f));
  Problem problem({.m = 8, .n = 8, .k = 8});
  float* pinned = nullptr;
  SUCCEED(cudaMallocHost(&pinned, 4));
  EXPECT(problem.find() == CUBLAS_STATUS_SUCCESS);
  EXPECT(problem.run(a.data(), b.data(), d.data()) == CUBLAS_STATUS_SUCCESS);
  SUCCEED(cudaMemsetAsync(b.data(), 0, 256));  // after the product has read it
  EXPECT(d.read()[0] == 8);
  SUCCEED(cudaFreeHost(pinned));
}

TEST(productsAreFastEnough) {
  if (kSanitizer) return;
  const Case c{.m = 512, .n = 512, .k = 512, .transposeA = true, .bf16 = true};
  const Values a(512 * 512, true, 0.7f), b(512 * 512, true, 1.3f), old(512 * 512, false, 0.3f);
  Bytes aDevice(a), bDevice(b), dDevice(old);
  Problem problem(c);
  EXPECT(problem.find() == CUBLAS_STATUS_SUCCESS);
  const auto start = std::chrono::steady_clock::now();
  EXPECT(problem.run(aDevice.data(), bDevice.data(), dDevice.data()) == CUBLAS_STATUS_SUCCESS);
  SUCCEED(cudaDeviceSynchronize());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  printf("  %.1f GFLOP/s\n", 2e-9 * 512 * 512 * 512 / seconds.count());
}

}  // namespace
