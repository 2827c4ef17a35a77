// The linear layer: out = x weight^T + bias; dX = dOut weight; dWeight += dOut^T x; dBias += column sums of
// dOut. x is [T, K], weight [N, K], out [T, N].
//
// The products are cuBLASLt's (matmul.cu): 2 T N K FLOPs each, and at least the bytes of their three
// matrices.
//
// Column sums take two passes of one kernel, in a fixed order: sums of 64 rows or more (at most 1024 such
// groups), then the sums of those.
//   Launch: grid (columns / (32 * width), groups), block 256, where width is the elements of a 16-byte load,
//   or 1 where rows are not aligned to it; 1024 * width bytes of static shared memory.
//   Bytes: T N sizeof(dOut) + 8 groups N + 8 N. FLOPs: T N.
#include <algorithm>

#include "common.cuh"
#include "ops.h"

namespace sralign::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kRowsPerGroup = 64;
constexpr int64_t kGroups = 1024;

// out[blockIdx.y][column] = (add ? out : 0) + the sum of x[row][column] over the group's rows. A warp takes
// every eighth row and each of its lanes `kWidth` columns beside each other.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    columnSumsKernel(const T* __restrict__ x, int64_t rows, int64_t columns, int64_t rowsPerGroup, bool add,
                     float* __restrict__ out) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t firstColumn = int64_t{blockIdx.x} * kWarp * kWidth;
  const int64_t first = blockIdx.y * rowsPerGroup;
  const int64_t last = first + rowsPerGroup < rows ? first + rowsPerGroup : rows;

  float sums[kWidth] = {};
  if (firstColumn + lane * kWidth < columns) {
    const T* source = x + firstColumn + lane * kWidth;
#pragma unroll 4
    for (int64_t row = first + warp; row < last; row += kWarps) {
      if constexpr (kWidth == 1) {
        sums[0] += toFloat(source[row * columns]);
      } else {
        const Vector<T> vector = Vector<T>::load(source + row * columns);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sums[i] += toFloat(vector.values[i]);
      }
    }
  }

  // Element i of every lane lies side by side, so that neither writes nor reads meet in one memory bank.
  constexpr int kPartialSums = kThreads * kWidth;
  SRALIGN_SHARED(float, partial, kPartialSums);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) partial[(warp * kWidth + i) * kWarp + lane] = sums[i];
  __syncthreads();
  const int element = warp;  // of the lane's columns; there are at most as many as warps
  const int64_t column = firstColumn + lane * kWidth + element;
  if (element < kWidth && column < columns) {
    float* target = out + blockIdx.y * columns + column;
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += partial[(w * kWidth + element) * kWarp + lane];
    *target = add ? *target + total : total;
  }
}

template <int kWidth, typename T>
void launchColumnSums(Context& context, const T* x, int64_t rows, int64_t columns, int64_t rowsPerGroup,
                      bool add, float* out) {
  const dim3 grid(static_cast<unsigned>(ceilDiv(columns, kWarp * kWidth)),
                  static_cast<unsigned>(ceilDiv(rows, rowsPerGroup)));
  launch(context, {.operation = "column sums", .grid = grid, .block = dim3(kThreads)},
         columnSumsKernel<T, kWidth>, x, rows, columns, rowsPerGroup, add, out);
}

template <typename T>
void columnSums(Context& context, const T* x, int64_t rows, int64_t columns, int64_t rowsPerGroup, bool add,
                float* out) {
  if (aligned16(x) && columns % kVector<T> == 0) {
    launchColumnSums<kVector<T>>(context, x, rows, columns, rowsPerGroup, add, out);
  } else {
    launchColumnSums<1>(context, x, rows, columns, rowsPerGroup, add, out);
  }
}

// dBias[n] += the sum of dOut[t][n] over t.
template <typename T>
void biasBackward(Context& context, const T* dOut, int64_t rows, int64_t columns, float* dBias) {
  const int64_t rowsPerGroup = std::max(kRowsPerGroup, ceilDiv(rows, kGroups));
  const int64_t groups = ceilDiv(rows, rowsPerGroup);
  if (groups == 1) {
    columnSums(context, dOut, rows, columns, rows, true, dBias);
    return;
  }
  float* partial = context.scratchOf<float>(ScratchSlot::reduction, groups * columns);
  columnSums(context, dOut, rows, columns, rowsPerGroup, false, partial);
  columnSums(context, partial, groups, columns, groups, true, dBias);
}

}  // namespace

void linear(Context& context, const LinearArgs& args) { matmul(context, productOf(args)); }

void linearBackwardInput(Context& context, const LinearBackwardInputArgs& args) {
  matmul(context, productOf(args));
}

void linearBackwardWeight(Context& context, const LinearBackwardWeightArgs& args) {
  matmul(context, productOf(args));
  if (!args.dBias) return;
  const int64_t tokens = args.dOut.shape[0], outputs = args.dOut.shape[1];
  if (args.dOut.dtype == DType::bf16) {
    biasBackward(context, static_cast<const bf16*>(args.dOut.data), tokens, outputs, args.dBias.f32());
  } else {
    biasBackward(context, args.dOut.f32(), tokens, outputs, args.dBias.f32());
  }
}

}  // namespace sralign::cuda
