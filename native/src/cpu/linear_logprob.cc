#include "linear_logprob.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../core/convert.h"
#include "matmul.h"
#include "scratch.h"

namespace sralign::cpu {

namespace {

// A panel's logits should stay in the last-level cache between the product that writes them and the softmax
// that reads them. Many rows share one reading of the weights; a panel ends where the softmax's own blocks
// end, so that the sums do not depend on how wide it is.
constexpr int64_t kPanelBytes = int64_t{16} << 20;
constexpr int64_t kMostRows = 2048;
constexpr int64_t kColumnStep = 2048;

int64_t widestPanel(int64_t rows, int64_t vocabulary) {
  const int64_t fitting = kPanelBytes / (rows * static_cast<int64_t>(sizeof(float)));
  return std::min(vocabulary, std::max(fitting / kColumnStep, int64_t{1}) * kColumnStep);
}

TensorView scratchMatrix(ScratchSlot slot, DType dtype, int64_t rows, int64_t columns) {
  TensorView view{.dtype = dtype, .rank = 2, .shape = {rows, columns}};
  view.data = scratch(slot, static_cast<size_t>(view.bytes()));
  return view;
}

// The address of element [row, column].
char* at(const TensorView& matrix, int64_t row, int64_t column = 0) {
  return static_cast<char*>(matrix.data) + (row * matrix.shape[1] + column) * sizeOf(matrix.dtype);
}

void gatherRows(const TensorView& matrix, const int32_t* rows, int64_t count, const TensorView& target) {
  const auto rowBytes = static_cast<size_t>(matrix.shape[1] * sizeOf(matrix.dtype));
  for (int64_t i = 0; i < count; ++i) std::memcpy(at(target, i), at(matrix, rows[i]), rowBytes);
}

// f32 rows into the named rows of a matrix of either type.
void scatterRows(const TensorView& source, const int32_t* rows, int64_t count, const TensorView& matrix) {
  const int64_t width = matrix.shape[1];
  for (int64_t i = 0; i < count; ++i) {
    const float* row = source.f32() + i * width;
    if (matrix.dtype == DType::f32) {
      std::copy_n(row, width, matrix.f32() + rows[i] * width);
    } else {
      std::transform(row, row + width, matrix.bf16() + rows[i] * width, f32ToBf16);
    }
  }
}

// What both passes know: the problem, and where the logits of a panel are.
struct Problem {
  const TensorView& hidden;
  const TensorView& weight;
  const TensorView& rows;
  const TensorView& targetRows;
  const TensorView& labels;
  const TensorView& keptLogits;  // [M, V], or without data
  int64_t vocabulary() const { return weight.shape[0]; }
  int64_t width() const { return weight.shape[1]; }
};

// logits [rows, columns] = hidden rows weight[panel]^T
void multiplyByWeight(const Problem& problem, const TensorView& hiddenRows, const LogprobPanelArgs& panel) {
  matmul({.transposeB = true,
          .m = panel.rowCount,
          .n = panel.columns,
          .k = problem.width(),
          .a = hiddenRows.data,
          .lda = problem.width(),
          .aType = hiddenRows.dtype,
          .b = at(problem.weight, panel.firstColumn),
          .ldb = problem.width(),
          .bType = problem.weight.dtype,
          .c = panel.logits,
          .ldc = panel.logitsStride});
}

// Takes up to kMostRows rows at a time: calls `visit(hidden rows, panel)` for each panel of their logits,
// then `end(first row, rows)`.
template <typename Visit, typename End>
void forEachPanel(const Problem& problem, Visit&& visit, End&& end) {
  const int64_t rowCount = problem.rows.shape[0], vocabulary = problem.vocabulary();
  const int64_t mostRows = std::min(rowCount, kMostRows);
  const int64_t mostColumns = widestPanel(mostRows, vocabulary);
  const TensorView hiddenRows =
      scratchMatrix(ScratchSlot::hiddenRows, problem.hidden.dtype, mostRows, problem.width());
  const bool kept = static_cast<bool>(problem.keptLogits);
  float* panelLogits =
      kept ? nullptr : scratchMatrix(ScratchSlot::logits, DType::f32, mostRows, mostColumns).f32();
  for (int64_t firstRow = 0; firstRow < rowCount; firstRow += mostRows) {
    LogprobPanelArgs panel;
    panel.firstRow = firstRow;
    panel.rowCount = std::min(mostRows, rowCount - firstRow);
    panel.targetRows = problem.targetRows.i32();
    panel.labels = problem.labels.i32();
    panel.targetCount = problem.labels.shape[0];
    gatherRows(problem.hidden, problem.rows.i32() + firstRow, panel.rowCount, hiddenRows);
    for (int64_t column = 0; column < vocabulary; column += mostColumns) {
      panel.firstColumn = column;
      panel.columns = std::min(mostColumns, vocabulary - column);
      panel.logits = kept ? problem.keptLogits.f32() + firstRow * vocabulary + column : panelLogits;
      panel.logitsStride = kept ? vocabulary : panel.columns;
      visit(hiddenRows, panel);
    }
    end(firstRow, panel.rowCount);
  }
}

}  // namespace

void linearLogprob(const Kernels& kernels, const LinearLogprobArgs& args) {
  const Problem problem{args.hidden, args.weight, args.rows, args.targetRows, args.labels, args.logits};
  const int64_t rowCount = args.rows.shape[0];
  const auto total =
      static_cast<double*>(scratch(ScratchSlot::rowTotals, static_cast<size_t>(rowCount) * sizeof(double)));
  RowMoments* moments = nullptr;
  if (args.statistics) {
    moments = static_cast<RowMoments*>(
        scratch(ScratchSlot::rowMoments, static_cast<size_t>(rowCount) * sizeof(RowMoments)));
    std::fill_n(moments, rowCount, RowMoments{});
  }
  float* highest = args.logSumExp.f32();  // until the last panel is in
  std::fill_n(total, rowCount, 0.0);
  std::fill_n(highest, rowCount, -std::numeric_limits<float>::infinity());
  forEachPanel(
      problem,
      [&](const TensorView& hiddenRows, LogprobPanelArgs& panel) {
        multiplyByWeight(problem, hiddenRows, panel);
        panel.highest = highest;
        panel.total = total;
        panel.moments = moments;
        panel.logps = args.logps.f32();
        kernels.logprobPanel(panel);
      },
      [&](int64_t firstRow, int64_t rows) {
        for (int64_t row = firstRow; row < firstRow + rows; ++row) {
          const float most = highest[row];
          const double logTotal = std::log(total[row]);
          const auto logSumExp = static_cast<float>(most + logTotal);
          highest[row] = logSumExp;
          if (moments == nullptr) continue;
          float* statistics = args.statistics.f32() + 3 * row;
          statistics[0] = static_cast<float>(logTotal - moments[row].weighted / total[row]);
          statistics[1] = static_cast<float>(moments[row].sum / static_cast<double>(problem.vocabulary()));
          statistics[2] = most - logSumExp;
        }
      });
  for (int64_t i = 0; i < args.labels.shape[0]; ++i) {
    args.logps.f32()[i] -= args.logSumExp.f32()[args.targetRows.i32()[i]];
  }
}

void linearLogprobBackward(const Kernels& kernels, const LinearLogprobBackwardArgs& args) {
  const Problem problem{args.hidden, args.weight, args.rows, args.targetRows, args.labels, args.logits};
  const int64_t width = problem.width();
  const DType dtype = args.hidden.dtype;
  const int64_t mostRows = std::min(args.rows.shape[0], kMostRows);
  const TensorView dHiddenRows = scratchMatrix(ScratchSlot::dHiddenRows, DType::f32, mostRows, width);
  forEachPanel(
      problem,
      [&](const TensorView& hiddenRows, LogprobPanelArgs& panel) {
        if (!args.logits) multiplyByWeight(problem, hiddenRows, panel);
        panel.logSumExp = args.logSumExp.f32();
        panel.dLogps = args.dLogps.f32();
        if (dtype == DType::f32) {
          panel.dLogits = {
              .data = panel.logits, .dtype = dtype, .rank = 2, .shape = {panel.rowCount, panel.columns}};
          panel.dLogitsStride = panel.logitsStride;
        } else {
          panel.dLogits = scratchMatrix(ScratchSlot::dLogits, dtype, panel.rowCount, panel.columns);
          panel.dLogitsStride = panel.columns;
        }
        kernels.logprobPanelBackward(panel);
        // dHidden = dLogits weight, summed over the panels in f32
        matmul({.m = panel.rowCount,
                .n = width,
                .k = panel.columns,
                .a = panel.dLogits.data,
                .lda = panel.dLogitsStride,
                .aType = dtype,
                .b = at(args.weight, panel.firstColumn),
                .ldb = width,
                .bType = dtype,
                .c = dHiddenRows.data,
                .ldc = width,
                .beta = panel.firstColumn == 0 ? 0.0f : 1.0f});
        // dWeight[panel] += dLogits^T hidden
        matmul({.transposeA = true,
                .m = panel.columns,
                .n = width,
                .k = panel.rowCount,
                .a = panel.dLogits.data,
                .lda = panel.dLogitsStride,
                .aType = dtype,
                .b = hiddenRows.data,
                .ldb = width,
                .bType = dtype,
                .c = at(args.dWeight, panel.firstColumn),
                .ldc = width,
                .beta = 1});
      },
      [&](int64_t firstRow, int64_t rows) {
        scatterRows(dHiddenRows, args.rows.i32() + firstRow, rows, args.dHidden);
      });
}

}  // namespace sralign::cpu
