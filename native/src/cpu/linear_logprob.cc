#include "linear_logprob.h"

#include <algorithm>
#include <cstring>

#include "matmul.h"
#include "scratch.h"

namespace sralign::cpu {

namespace {

// A chunk's logits should stay in the last-level cache between the product that writes them and the softmax
// that reads them; below 16 rows the product itself gets slow.
constexpr int64_t kChunkBytes = int64_t{16} << 20;
constexpr int64_t kLeastRows = 16;

int64_t rowsPerChunk(int64_t vocabulary, int64_t rows) {
  const int64_t fitting = kChunkBytes / (vocabulary * static_cast<int64_t>(sizeof(float)));
  return std::min(rows, std::max(fitting, kLeastRows));
}

TensorView scratchMatrix(ScratchSlot slot, DType dtype, int64_t rows, int64_t columns) {
  TensorView view{.dtype = dtype, .rank = 2, .shape = {rows, columns}};
  view.data = scratch(slot, static_cast<size_t>(view.bytes()));
  return view;
}

char* rowOf(const TensorView& matrix, int64_t row) {
  return static_cast<char*>(matrix.data) + row * matrix.shape[1] * sizeOf(matrix.dtype);
}

void gatherRows(const TensorView& matrix, const int32_t* rows, int64_t count, const TensorView& target) {
  const auto rowBytes = static_cast<size_t>(matrix.shape[1] * sizeOf(matrix.dtype));
  for (int64_t i = 0; i < count; ++i) std::memcpy(rowOf(target, i), rowOf(matrix, rows[i]), rowBytes);
}

void scatterRows(const TensorView& source, const int32_t* rows, int64_t count, const TensorView& matrix) {
  const auto rowBytes = static_cast<size_t>(matrix.shape[1] * sizeOf(matrix.dtype));
  for (int64_t i = 0; i < count; ++i) std::memcpy(rowOf(matrix, rows[i]), rowOf(source, i), rowBytes);
}

// logits [m, V] = hidden rows [m, H] weight^T
void multiplyByWeight(const TensorView& hiddenRows, const TensorView& weight, int64_t m,
                      const TensorView& logits) {
  const int64_t vocabulary = weight.shape[0], width = weight.shape[1];
  matmul({.transposeB = true,
          .m = m,
          .n = vocabulary,
          .k = width,
          .a = hiddenRows.data,
          .lda = width,
          .aType = hiddenRows.dtype,
          .b = weight.data,
          .ldb = width,
          .bType = weight.dtype,
          .c = logits.data,
          .ldc = vocabulary});
}

// Calls `visit` for each chunk, with its rows and targets filled in.
template <typename Visit>
void forEachChunk(const TensorView& rows, const TensorView& targetRows, const TensorView& labels,
                  int64_t vocabulary, int64_t chunkRows, Visit&& visit) {
  const int64_t rowCount = rows.shape[0], targetCount = targetRows.shape[0];
  int64_t target = 0;
  for (int64_t first = 0; first < rowCount; first += chunkRows) {
    LogprobChunkArgs chunk;
    chunk.firstRow = first;
    chunk.rowCount = std::min(chunkRows, rowCount - first);
    chunk.vocabulary = vocabulary;
    chunk.targetRows = targetRows.i32();
    chunk.labels = labels.i32();
    chunk.firstTarget = target;
    while (target < targetCount && targetRows.i32()[target] < first + chunk.rowCount) ++target;
    chunk.lastTarget = target;
    visit(chunk);
  }
}

}  // namespace

void linearLogprob(const Kernels& kernels, const LinearLogprobArgs& args) {
  const int64_t vocabulary = args.weight.shape[0], width = args.weight.shape[1];
  const int64_t chunkRows = rowsPerChunk(vocabulary, args.rows.shape[0]);
  const TensorView hiddenRows = scratchMatrix(ScratchSlot::hiddenRows, args.hidden.dtype, chunkRows, width);
  const TensorView logits = scratchMatrix(ScratchSlot::logits, DType::f32, chunkRows, vocabulary);
  forEachChunk(args.rows, args.targetRows, args.labels, vocabulary, chunkRows, [&](LogprobChunkArgs& chunk) {
    gatherRows(args.hidden, args.rows.i32() + chunk.firstRow, chunk.rowCount, hiddenRows);
    multiplyByWeight(hiddenRows, args.weight, chunk.rowCount, logits);
    chunk.logits = logits.f32();
    chunk.logSumExp = args.logSumExp.f32();
    chunk.logps = args.logps.f32();
    kernels.logprobChunk(chunk);
  });
}

void linearLogprobBackward(const Kernels& kernels, const LinearLogprobBackwardArgs& args) {
  const int64_t vocabulary = args.weight.shape[0], width = args.weight.shape[1];
  const int64_t chunkRows = rowsPerChunk(vocabulary, args.rows.shape[0]);
  const DType dtype = args.hidden.dtype;
  const TensorView hiddenRows = scratchMatrix(ScratchSlot::hiddenRows, dtype, chunkRows, width);
  const TensorView dHiddenRows = scratchMatrix(ScratchSlot::dHiddenRows, dtype, chunkRows, width);
  const TensorView logits = scratchMatrix(ScratchSlot::logits, DType::f32, chunkRows, vocabulary);
  const TensorView dLogits =
      dtype == DType::f32 ? logits : scratchMatrix(ScratchSlot::dLogits, dtype, chunkRows, vocabulary);
  std::memset(args.dHidden.data, 0, static_cast<size_t>(args.dHidden.bytes()));
  forEachChunk(args.rows, args.targetRows, args.labels, vocabulary, chunkRows, [&](LogprobChunkArgs& chunk) {
    const int64_t m = chunk.rowCount;
    const int32_t* rows = args.rows.i32() + chunk.firstRow;
    gatherRows(args.hidden, rows, m, hiddenRows);
    multiplyByWeight(hiddenRows, args.weight, m, logits);
    chunk.logits = logits.f32();
    chunk.logSumExp = args.logSumExp.f32();
    chunk.dLogps = args.dLogps.f32();
    chunk.dLogits = dLogits;
    chunk.dLogits.shape[0] = m;
    kernels.logprobChunkBackward(chunk);
    // dHidden = dLogits weight
    matmul({.m = m,
            .n = width,
            .k = vocabulary,
            .a = dLogits.data,
            .lda = vocabulary,
            .aType = dtype,
            .b = args.weight.data,
            .ldb = width,
            .bType = dtype,
            .c = dHiddenRows.data,
            .ldc = width,
            .cType = dtype});
    scatterRows(dHiddenRows, rows, m, args.dHidden);
    // dWeight += dLogits^T hidden
    matmul({.transposeA = true,
            .m = vocabulary,
            .n = width,
            .k = m,
            .a = dLogits.data,
            .lda = vocabulary,
            .aType = dtype,
            .b = hiddenRows.data,
            .ldb = width,
            .bType = dtype,
            .c = args.dWeight.data,
            .ldc = width,
            .beta = 1});
  });
}

}  // namespace sralign::cpu
