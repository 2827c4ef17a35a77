// Test infrastructure (../README.md): a matrix product on the CPU, without any library.
#pragma once

#include <cstdint>

namespace cuda_host {

enum class Number { f32, bf16 };

// Element (i, j) of a matrix is data[i * rowStep + j * columnStep].
struct Matrix {
  const void* data = nullptr;
  Number number = Number::f32;
  int64_t rowStep = 0, columnStep = 0;
};

struct Product {
  int64_t m = 0, n = 0, k = 0;
  float alpha = 1, beta = 0;  // with beta 0, c is not read
  Matrix a, b, c;
  Matrix bias;        // [m], by rowStep; no data: none
  bool tf32 = false;  // f32 inputs lose all but 10 bits of their mantissa
  void* d = nullptr;  // as c lies; may be c
  Number dNumber = Number::f32;
  int64_t dRowStep = 0, dColumnStep = 0;
};

// d[m, n] = alpha a[m, k] b[k, n] + beta c + bias, summed in f32 and rounded once.
void multiply(const Product& product);

}  // namespace cuda_host
