// The products of attention, on tiles held in vector registers.
//
// Shapes: D = headDim (`dim`), Dp = D rounded up to whole vectors (`padded`).
//
// Query rows lie in the LANES of vectors: a panel holds kPanel rows as [Dp][kPanel], so that scores come out
// as [keys][kPanel], softmax runs down a column with no sum across lanes, and neither keys nor values have to
// be transposed: they are copied (widened) once per block and enter the products as broadcast scalars.
#pragma once

#include "simd.h"

namespace sralign::cpu::SRALIGN_ISA {

constexpr int kPanel = 2 * kLanes;
#if defined(__AVX512F__)
constexpr int kAccumulators = 24;  // of 32 vector registers
#else
constexpr int kAccumulators = 12;  // of 16
#endif

// ---- transposition ----

// Exchanges the blocks of `kStep` lanes off the diagonal of two vectors.
template <int kStep, int... kLane>
static inline void exchange(Vf& a, Vf& b, std::integer_sequence<int, kLane...>) {
  const Vf low = __builtin_shufflevector(a, b, ((kLane & kStep) != 0 ? kLanes + kLane - kStep : kLane)...);
  const Vf high = __builtin_shufflevector(a, b, ((kLane & kStep) != 0 ? kLanes + kLane : kLane + kStep)...);
  a = low;
  b = high;
}
template <int kStep>
static inline void exchangeAll(Vf (&v)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if ((i & kStep) == 0) exchange<kStep>(v[i], v[i + kStep], std::make_integer_sequence<int, kLanes>());
  }
  if constexpr (kStep > 1) exchangeAll<kStep / 2>(v);
}
static inline void transposeSquare(const float* from, int64_t fromStride, float* to, int64_t toStride) {
  Vf v[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) v[i] = load(from + i * fromStride);
  exchangeAll<kLanes / 2>(v);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) store(to + i * toStride, v[i]);
}
// rows [panels * kPanel, Dp] <-> panels [panels][Dp][kPanel]
static inline void rowsToPanels(const float* rows, int64_t panels, int64_t padded, float* out) {
  for (int64_t r = 0; r < panels * kPanel; r += kLanes) {
    float* panel = out + r / kPanel * kPanel * padded + r % kPanel;
    for (int64_t d = 0; d < padded; d += kLanes)
      transposeSquare(rows + r * padded + d, padded, panel + d * kPanel, kPanel);
  }
}
static inline void panelsToRows(const float* panels, int64_t count, int64_t padded, float* rows) {
  for (int64_t r = 0; r < count * kPanel; r += kLanes) {
    const float* panel = panels + r / kPanel * kPanel * padded + r % kPanel;
    for (int64_t d = 0; d < padded; d += kLanes)
      transposeSquare(panel + d * kPanel, kPanel, rows + r * padded + d, padded);
  }
}

// ---- products ----

// sums[i][n] += sum_k a[i * aRow + k * aDepth] * b[k * bRow + n]: M rows by N vectors, all sums in registers.
template <int M, int N>
static inline void multiply(const float* a, int64_t aRow, int64_t aDepth, const float* b, int64_t bRow,
                            int64_t depth, Vf (&sums)[M][N]) {
  for (int64_t k = 0; k < depth; ++k) {
    Vf right[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) right[n] = load(b + k * bRow + n * kLanes);
#pragma GCC unroll 24
    for (int i = 0; i < M; ++i) {
      const Vf left = splat(a[i * aRow + k * aDepth]);
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) sums[i][n] += left * right[n];
    }
  }
}

// Covers `rows` with tiles as tall as the registers allow: calls tile.operator()<M>(firstRow).
template <int N, typename Tile>
static inline void forEachTile(int64_t rows, Tile&& tile) {
  constexpr int kTall = kAccumulators / N;
  int64_t i = 0;
  for (; i + kTall <= rows; i += kTall) tile.template operator()<kTall>(i);
  if constexpr (kTall > 8) {
    for (; i + 8 <= rows; i += 8) tile.template operator()<8>(i);
  }
  for (; i + 4 <= rows; i += 4) tile.template operator()<4>(i);
  if (i + 2 <= rows) {
    tile.template operator()<2>(i);
    i += 2;
  }
  if (i < rows) tile.template operator()<1>(i);
}

// out [keys][kPanel] = rows of a [keys, Dp] times a panel [Dp][kPanel]: scores from keys, and dP from values.
template <int N>
static inline void timesPanel(int64_t dim, int64_t padded, const float* a, int64_t keys, const float* panel,
                              float* out) {
  forEachTile<N>(keys, [&]<int M>(int64_t j) {
    Vf sums[M][N] = {};
    multiply<M, N>(a + j * padded, padded, 1, panel, kPanel, dim, sums);
#pragma GCC unroll 24
    for (int i = 0; i < M; ++i) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) store(out + (j + i) * kPanel + n * kLanes, sums[i][n]);
    }
  });
}

// panel [Dp][kPanel] = panel * correction + a^T weights: a [keys, Dp], weights [keys][kPanel]. Outputs from
// values, and dQ from keys.
template <int N>
static inline void addTransposed(int64_t dim, int64_t padded, const float* a, int64_t keys,
                                 const float* weights, const Vf (&correction)[N], float* panel) {
  forEachTile<N>(dim, [&]<int M>(int64_t d) {
    Vf sums[M][N];
#pragma GCC unroll 24
    for (int i = 0; i < M; ++i) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) sums[i][n] = load(panel + (d + i) * kPanel + n * kLanes) * correction[n];
    }
    multiply<M, N>(a + d, 1, padded, weights, kPanel, keys, sums);
#pragma GCC unroll 24
    for (int i = 0; i < M; ++i) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) store(panel + (d + i) * kPanel + n * kLanes, sums[i][n]);
    }
  });
}

}  // namespace sralign::cpu::SRALIGN_ISA
