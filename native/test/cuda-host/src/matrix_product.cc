// Test infrastructure (../README.md).
//
// Tiles of d. For each, panels of a and b are brought into f32 and into the order in which the inner kernel
// reads them: strips of kTileRows rows of a, and of kTileColumns columns of b.
#include "matrix_product.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "cuda_bf16.h"

// The loader picks the version for the processor; AddressSanitizer does not get along with that.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define SRALIGN_CUDA_HOST_CLONES __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define SRALIGN_CUDA_HOST_CLONES
#endif

namespace cuda_host {
namespace {

constexpr int64_t kTileRows = 4, kTileColumns = 16;                     // of the inner kernel
constexpr int64_t kBlockRows = 128, kBlockColumns = 256, kDepth = 256;  // of the panels

int64_t roundUp(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

float element(const Matrix& matrix, int64_t index) {
  if (matrix.number == Number::f32) return static_cast<const float*>(matrix.data)[index];
  return __bfloat162float(static_cast<const __nv_bfloat16*>(matrix.data)[index]);
}

// To the nearest number with 10 bits of mantissa, ties away from zero, as a device rounds to TF32.
float roundToTf32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return std::bit_cast<float>((bits + 0x1000u) & 0xffffe000u);
}

// target[strip][depth][unit], zeros past the end: rows i.. (along `step`) of the matrix, columns p.. (along
// `depthStep`).
template <typename T>
void packElements(const Matrix& matrix, int64_t step, int64_t depthStep, int64_t first, int64_t count,
                  int64_t p, int64_t depth, int64_t unit, float* target) {
  const T* data = static_cast<const T*>(matrix.data) + first * step + p * depthStep;
  for (int64_t strip = 0; strip < count; strip += unit) {
    const int64_t filled = std::min(unit, count - strip);
    for (int64_t u = 0; u < unit; ++u) {
      const T* source = data + (strip + u) * step;
      for (int64_t q = 0; q < depth; ++q) {
        target[q * unit + u] = u < filled ? static_cast<float>(source[q * depthStep]) : 0.0f;
      }
    }
    target += depth * unit;
  }
}

void pack(const Product& product, const Matrix& matrix, int64_t step, int64_t depthStep, int64_t first,
          int64_t count, int64_t p, int64_t depth, int64_t unit, std::vector<float>& target) {
  target.resize(static_cast<size_t>(roundUp(count, unit) * depth));
  if (matrix.number == Number::f32) {
    packElements<float>(matrix, step, depthStep, first, count, p, depth, unit, target.data());
    if (product.tf32) std::transform(target.begin(), target.end(), target.begin(), roundToTf32);
  } else {
    packElements<__nv_bfloat16>(matrix, step, depthStep, first, count, p, depth, unit, target.data());
  }
}

// sums[kTileRows][kTileColumns] of rows `ld` apart += strip of a times strip of b.
SRALIGN_CUDA_HOST_CLONES void multiplyStrips(const float* a, const float* b, int64_t depth, float* sums,
                                             int64_t ld) {
  typedef float Row __attribute__((vector_size(kTileColumns * sizeof(float))));
  Row row0, row1, row2, row3, right;
  memcpy(&row0, sums, sizeof(Row));
  memcpy(&row1, sums + ld, sizeof(Row));
  memcpy(&row2, sums + 2 * ld, sizeof(Row));
  memcpy(&row3, sums + 3 * ld, sizeof(Row));
  for (int64_t q = 0; q < depth; ++q) {
    memcpy(&right, b + q * kTileColumns, sizeof(Row));
    row0 += a[0] * right;
    row1 += a[1] * right;
    row2 += a[2] * right;
    row3 += a[3] * right;
    a += kTileRows;
  }
  memcpy(sums, &row0, sizeof(Row));
  memcpy(sums + ld, &row1, sizeof(Row));
  memcpy(sums + 2 * ld, &row2, sizeof(Row));
  memcpy(sums + 3 * ld, &row3, sizeof(Row));
}

void store(const Product& product, int64_t i, int64_t j, float sum) {
  float value = product.alpha * sum;
  if (product.beta != 0) {
    value += product.beta * element(product.c, i * product.c.rowStep + j * product.c.columnStep);
  }
  if (product.bias.data != nullptr) value += element(product.bias, i * product.bias.rowStep);
  const int64_t index = i * product.dRowStep + j * product.dColumnStep;
  if (product.dNumber == Number::f32) {
    static_cast<float*>(product.d)[index] = value;
  } else {
    static_cast<__nv_bfloat16*>(product.d)[index] = __float2bfloat16_rn(value);
  }
}

}  // namespace

void multiply(const Product& product) {
  static std::vector<float> a, b, sums;  // under the lock of the runtime
  sums.resize(static_cast<size_t>(kBlockRows * kBlockColumns));
  for (int64_t j = 0; j < product.n; j += kBlockColumns) {
    const int64_t columns = std::min(kBlockColumns, product.n - j);
    for (int64_t i = 0; i < product.m; i += kBlockRows) {
      const int64_t rows = std::min(kBlockRows, product.m - i);
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (int64_t p = 0; p < product.k; p += kDepth) {
        const int64_t depth = std::min(kDepth, product.k - p);
        pack(product, product.a, product.a.rowStep, product.a.columnStep, i, rows, p, depth, kTileRows, a);
        pack(product, product.b, product.b.columnStep, product.b.rowStep, j, columns, p, depth, kTileColumns,
             b);
        for (int64_t c = 0; c < columns; c += kTileColumns) {
          for (int64_t r = 0; r < rows; r += kTileRows) {
            multiplyStrips(a.data() + r * depth, b.data() + c * depth, depth,
                           sums.data() + r * kBlockColumns + c, kBlockColumns);
          }
        }
      }
      for (int64_t c = 0; c < columns; ++c) {
        for (int64_t r = 0; r < rows; ++r)
          store(product, i + r, j + c, sums[static_cast<size_t>(r * kBlockColumns + c)]);
      }
    }
  }
}

}  // namespace cuda_host
