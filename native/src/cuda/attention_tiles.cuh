// What the attention kernels do with a tile: bring it to shared memory, multiply, mask, write it back.
//
// Shapes: D = headDim padded to one of a few widths, with zeros; a tile is [rows][kStride<T, D>] in shared
// memory.
//
// A warp owns 16 rows of a block and keeps sums of [16, 8 N] as float c[N][4], in the layout of the tensor
// cores (mma.cuh), with g = lane / 4:
//   c[n][0], c[n][1]: row g, columns 8 n + lane % 4 * 2 and the next;  c[n][2], c[n][3]: row g + 8, the same
// bf16 is multiplied by tensor cores; f32 by plain FMA on the same layout, so that the kernels are written
// once.
#pragma once

#include "attention_forest.h"
#include "common.cuh"
#include "head_rows.cuh"
#include "mma.cuh"

namespace sralign::cuda {

constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

// What fits the registers without spills and 99 KB of shared memory, whatever the kernel.
template <typename T, int D>
struct TileShape {
  static constexpr bool kWide = D > 128, kBf16 = std::is_same_v<T, bf16>;
  static constexpr int kWarps = kWide && !kBf16 ? 2 : 4;
  static constexpr int kThreads = kWarps * kWarp;
  static constexpr int kRows = 16 * kWarps;                                         // that a block owns
  static constexpr int kKeys = kBf16 ? (kWide ? 32 : 64) : (kWide ? 16 : 32);       // that pass by queries
  static constexpr int kQueries = kBf16 ? (D <= 64 ? 64 : 32) : (kWide ? 16 : 32);  // that pass by keys
  static constexpr int kSlice = kWide ? 128 : D;  // of D in a block's dK, dV
  // Blocks of a multiprocessor that the compiler leaves registers for; 0: its own choice, which for f32 is to
  // spill a few to get one more block in.
  static constexpr int kBlocks = kBf16 ? 0 : (D <= 32 ? 3 : D <= 64 ? 2 : 1);
};

// 16 bytes more than a row: eight rows start in different banks.
template <typename T, int D>
constexpr int kStride = D + kVector<T>;

constexpr int kLargestHeadDim = 256;

// Calls body.operator()<T, D>() for the type and headDim of a call.
template <typename Body>
void withTileType(DType type, int64_t headDim, const char* operation, Body&& body) {
  if (headDim > kLargestHeadDim) {
    throw EngineError("ERR_CUDA", std::string(operation) + ": headDim " + std::to_string(headDim) +
                                      " is more than the " + std::to_string(kLargestHeadDim) +
                                      " that the CUDA backend supports");
  }
  if (type == DType::bf16) {
    if (headDim <= 32) return body.template operator()<bf16, 32>();
    if (headDim <= 64) return body.template operator()<bf16, 64>();
    if (headDim <= 80) return body.template operator()<bf16, 80>();
    if (headDim <= 96) return body.template operator()<bf16, 96>();
    if (headDim <= 128) return body.template operator()<bf16, 128>();
    return body.template operator()<bf16, kLargestHeadDim>();
  }
  if (headDim <= 32) return body.template operator()<float, 32>();
  if (headDim <= 64) return body.template operator()<float, 64>();
  if (headDim <= 128) return body.template operator()<float, 128>();
  return body.template operator()<float, kLargestHeadDim>();
}

// ---- between memory and shared memory ------------------------------------------------------------------

// Starts to bring `count` rows of `dim` elements to the tile, with zeros in the rest of its kRows rows of D.
// The bytes are there after copyAsyncWait and __syncthreads.
template <typename T, int D, int kRows, int kThreads>
__device__ __forceinline__ void loadTile(T* tile, const T* rows, int64_t rowStride, int count, int dim,
                                         bool vectors) {
  constexpr int kPerRow = D / kVector<T>;
#pragma unroll 1  // the copies take no registers, more addresses at a time would
  for (int i = threadIdx.x; i < kRows * kPerRow; i += kThreads) {
    const int row = i / kPerRow, column = i % kPerRow * kVector<T>;
    T* target = tile + row * kStride<T, D> + column;
    const T* source = rows + row * rowStride + column;
    if (vectors) {
      const bool inside = row < count && column < dim;
      copyAsync16(target, inside ? source : rows, inside);
    } else {
      Vector<T> vector;
#pragma unroll
      for (int j = 0; j < kVector<T>; ++j) {
        vector.values[j] = row < count && column + j < dim ? source[j] : fromFloat<T>(0.0f);
      }
      vector.store(target);
    }
  }
}

// Writes the warp's sums, times a factor for row g and one for row g + 8, to `count` rows of `dim` elements.
// They pass through `own`, 16 rows of shared memory that no other warp reads any more, to be written 16 bytes
// at a time.
template <typename T, int D, int N>
__device__ __forceinline__ void storeRows(T* own, const float (&c)[N][4], float factorLow, float factorHigh,
                                          T* rows, int64_t rowStride, int count, int dim, bool vectors) {
  const int lane = threadIdx.x % kWarp;
  T* mine = own + lane / 4 * kStride<T, D> + lane % 4 * 2;
  __syncwarp();
#pragma unroll
  for (int n = 0; n < N; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      mine[8 * n + i] = fromFloat<T>(c[n][i] * factorLow);
      mine[8 * n + i + 8 * kStride<T, D>] = fromFloat<T>(c[n][i + 2] * factorHigh);
    }
  }
  __syncwarp();
  constexpr int kPerRow = 8 * N / kVector<T>;
  for (int i = lane; i < 16 * kPerRow; i += kWarp) {
    const int row = i / kPerRow, column = i % kPerRow * kVector<T>;
    if (row >= count) break;
    const T* source = own + row * kStride<T, D> + column;
    T* target = rows + row * rowStride + column;
    if (vectors) {
      if (column < dim) Vector<T>::load(source).store(target);
    } else {
      for (int j = 0; j < kVector<T> && column + j < dim; ++j) target[j] = source[j];
    }
  }
}

// ---- products ------------------------------------------------------------------------------------------

// c [16, 8 N] += a b^T: 16 rows of D at `a`, 8 N rows at `b`. A sum runs along D in the same order whichever
// of the two sides holds the queries.
template <int D, int N>
__device__ __forceinline__ void multiplyRows(float (&c)[N][4], const bf16* a, const bf16* b) {
  const int lane = threadIdx.x % kWarp;
  const bf16* left = a + lane % 16 * kStride<bf16, D> + lane / 16 * 8;
  const bf16* right = b + (lane / 16 * 8 + lane % 8) * kStride<bf16, D> + lane / 8 % 2 * 8;
#pragma unroll
  for (int d = 0; d < D; d += 16) {
    uint32_t rows[4];
    loadMatrix4(rows, left + d);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t m[4];
      loadMatrix4(m, right + n * 8 * kStride<bf16, D> + d);
      mmaBf16M16N8K16(c[n], rows, {m[0], m[1]});
      mmaBf16M16N8K16(c[n + 1], rows, {m[2], m[3]});
    }
  }
}

template <int D, int N>
__device__ __forceinline__ void multiplyRows(float (&c)[N][4], const float* a, const float* b) {
  const int lane = threadIdx.x % kWarp;
  const float* left = a + lane / 4 * kStride<float, D>;
  const float* right = b + lane % 4 * 2 * kStride<float, D>;
#pragma unroll 2
  for (int d = 0; d < D; d += 4) {
    const Vector<float> low = Vector<float>::load(left + d);
    const Vector<float> high = Vector<float>::load(left + d + 8 * kStride<float, D>);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const Vector<float> even = Vector<float>::load(right + n * 8 * kStride<float, D> + d);
      const Vector<float> odd = Vector<float>::load(right + (n * 8 + 1) * kStride<float, D> + d);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        c[n][0] = fmaf(low.values[i], even.values[i], c[n][0]);
        c[n][1] = fmaf(low.values[i], odd.values[i], c[n][1]);
        c[n][2] = fmaf(high.values[i], even.values[i], c[n][2]);
        c[n][3] = fmaf(high.values[i], odd.values[i], c[n][3]);
      }
    }
  }
}

// c [16, 8 M] += p [16, 8 N] b: the 8 N rows at `b`, the first 8 M of their columns. bf16 rounds p.
template <int D, int N, int M>
__device__ __forceinline__ void multiplyWeights(float (&c)[M][4], const float (&p)[N][4], const bf16* b) {
  const int lane = threadIdx.x % kWarp;
  const bf16* right = b + lane % 16 * kStride<bf16, D> + lane / 16 * 8;
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    const uint32_t weights[4] = {packBf16(p[n][0], p[n][1]), packBf16(p[n][2], p[n][3]),
                                 packBf16(p[n + 1][0], p[n + 1][1]), packBf16(p[n + 1][2], p[n + 1][3])};
#pragma unroll
    for (int m = 0; m < M; m += 2) {
      uint32_t columns[4];
      loadMatrix4Transposed(columns, right + n * 8 * kStride<bf16, D> + m * 8);
      mmaBf16M16N8K16(c[m], weights, {columns[0], columns[1]});
      mmaBf16M16N8K16(c[m + 1], weights, {columns[2], columns[3]});
    }
  }
}

template <int D, int N, int M>
__device__ __forceinline__ void multiplyWeights(float (&c)[M][4], const float (&p)[N][4], const float* b) {
  const int lane = threadIdx.x % kWarp;
  const float* right = b + lane % 4 * 2;
#pragma unroll
  for (int n = 0; n < N; ++n) {
#pragma unroll
    for (int k = 0; k < 8; ++k) {  // the weights of a row lie with four lanes, two columns of eight each
      const int holder = lane / 4 * 4 + k / 2;
      const float low = __shfl_sync(kAllLanes, p[n][k % 2], holder);
      const float high = __shfl_sync(kAllLanes, p[n][k % 2 + 2], holder);
      const float* row = right + (n * 8 + k) * kStride<float, D>;
#pragma unroll
      for (int m = 0; m < M; ++m) {
        const float2 value = *reinterpret_cast<const float2*>(row + m * 8);
        c[m][0] = fmaf(low, value.x, c[m][0]);
        c[m][1] = fmaf(low, value.y, c[m][1]);
        c[m][2] = fmaf(high, value.x, c[m][2]);
        c[m][3] = fmaf(high, value.y, c[m][3]);
      }
    }
  }
}

// ---- masks ---------------------------------------------------------------------------------------------

// Columns of scores that a row does not see become -inf. Row g sees [begin, end), row g + 8 the same range
// moved by 8, and neither sees `limit` and beyond.
template <int N>
__device__ __forceinline__ void maskScores(float (&c)[N][4], int begin, int end, int limit) {
  const int first = threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < N; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = 8 * n + first + i % 2, down = i / 2 * 8;
      if (column < begin + down || column >= end + down || column >= limit) c[n][i] = -INFINITY;
    }
  }
}

// ---- the keys of a query tile --------------------------------------------------------------------------

// Walks up the chain of a query tile, from its last key to the root or the edge of the window, in tiles of
// kKeys that never cross a segment. All threads of a block walk together.
template <int kKeys>
struct KeyWalk {
  const Span* segments;
  Span segment;
  int lowest;         // position of the first key that the tile sees
  int offset, count;  // the current tile of keys in its segment

  __device__ __forceinline__ KeyWalk(const Span* segments, const Span& queries, int window)
      : segments(segments), segment(segments[queries.parent]), lowest(queries.position - window + 1) {
    startAt(queries.position + queries.count - segment.position);
  }
  __device__ __forceinline__ int row() const { return segment.row + offset; }
  __device__ __forceinline__ int position() const { return segment.position + offset; }

  // False where nothing is left; the walk is over then.
  __device__ __forceinline__ bool next() {
    if (offset > 0) {
      offset -= kKeys;
      count = kKeys;
    } else {
      if (segment.parent < 0) return false;
      segment = segments[segment.parent];
      startAt(segment.count);
    }
    return position() + count > lowest;
  }

 private:
  __device__ __forceinline__ void startAt(int keys) {
    offset = (keys - 1) / kKeys * kKeys;
    count = keys - offset;
  }
};

// Masks the scores of the warp's queries, the first at `position`, with `count` keys from `firstKey` on, only
// where the diagonal, the edge of the window or the end of the keys is among them.
template <int N>
__device__ __forceinline__ void maskKeys(float (&scores)[N][4], int position, int firstKey, int count,
                                         int window) {
  const bool allSeen = firstKey + 8 * N - 1 <= position && firstKey > position + 15 - window;
  if (allSeen && count == 8 * N) return;
  const int row = position + threadIdx.x % kWarp / 4 - firstKey;
  maskScores(scores, row - window + 1, row + 1, count);
}

}  // namespace sralign::cuda
