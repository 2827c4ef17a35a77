// The output matrix and the log-softmax behind it, panel by panel, so that the [M, V] logits need not exist:
//   l_mv = hidden[rows_m] . weight_v,  logSumExp_m = log sum_v exp(l_mv)
//   logp_i = l_m,label(i) - logSumExp_m for the targets i of row m
//   dl_mv = sum_i dlogp_i ([v = label(i)] - exp(l_mv - logSumExp_m))
//   dhidden[rows_m] = sum_v dl_mv weight_v,  dweight_v += sum_m dl_mv hidden[rows_m]
//
// A panel is the logits of some rows for some columns, in f32: a product writes it and one kernel reads it,
// grid (rows of the panel, parts of a row), 32 to 512 threads. Forward each part leaves maximum and sum (384
// bytes of shared memory) and a warp per row puts those of all panels together at the end. Backward the
// gradient takes the place of the logits (f32) or goes beside them (bf16), and two products take it to hidden
// rows and weights.
//
// FLOPs: 2 M V H forward; 6 M V H backward, or 4 M V H where the logits were kept. Bytes, with s bytes per
// element of hidden and weight, G = ceil(M / 4096) groups of rows and P panels per group:
//   forward:  s H (V G + M P) + 8 M V
//   backward: (2 s + 8) H (V G + M P) + (8 + 3 s) M V
// The terms of M V mostly stay in the L2 cache.
#include <vector>

#include "logprob_panel.cuh"
#include "ops.h"

namespace sralign::cuda {

namespace {

// 32 MiB: the logits of a panel stay in the L2 cache (40 MB and more) between the product that writes them
// and the kernel that reads them, and memory grows with neither M nor V. Every group of rows reads the
// weights and their gradients again, every panel the hidden rows and theirs: 8 H (V M / rows + M V / columns)
// bytes for the gradients, the least where panels are about square.
constexpr int64_t kPanelElements = (int64_t{32} << 20) / sizeof(float);
constexpr int64_t kMostRows = 4096;
constexpr int64_t kColumnStep = 256;  // whole tiles of the products
constexpr int kCopyThreads = 128;
constexpr int kFinishThreads = 128;

// ---- kernels -------------------------------------------------------------------------------------------

struct Panel {
  float* logits;  // [rows, columns], rows `stride` apart
  int64_t stride, rows, firstRow;
  int columns, firstColumn;
  const int32_t* targetStarts;  // [M + 1]: row m has the targets [targetStarts[m], targetStarts[m+1])
  const int32_t* labels;        // [R]
};

// Where the parts of rows leave their sums: [rows, count], `count` over all panels.
struct Partials {
  float* highest;
  double* total;
  double* moments;  // [rows, count, 2]: weighted and sum; null where nobody asks for statistics
  int count;
};

// target_i = matrix[rows_i]
template <typename T>
__global__ void __launch_bounds__(kCopyThreads)
    gatherRowsKernel(const T* __restrict__ matrix, const int32_t* __restrict__ rows, int width, T* target) {
  const int64_t row = blockIdx.x;
  mapRow(matrix + int64_t{rows[row]} * width, target + row * width, width, [](float value) { return value; });
}

// matrix[rows_i] = source_i
template <typename T>
__global__ void __launch_bounds__(kCopyThreads)
    scatterRowsKernel(const float* __restrict__ source, const int32_t* __restrict__ rows, int width,
                      T* matrix) {
  const int64_t row = blockIdx.x;
  mapRow(source + row * width, matrix + int64_t{rows[row]} * width, width, [](float value) { return value; });
}

// Leaves the sums of one part of a row, and the logits at the labels that are in it.
template <bool kMoments>
__global__ void __launch_bounds__(kLogprobThreads)
    panelSumKernel(Panel panel, int partWidth, Partials partials, int firstPartial,
                   float* __restrict__ logps) {
  SRALIGN_SHARED(float, maxima, kWarp);
  SRALIGN_SHARED(double, totals, kWarp);
  const int64_t row = blockIdx.x;
  const int first = blockIdx.y * partWidth;
  const int count = panel.columns - first < partWidth ? panel.columns - first : partWidth;
  const float* logits = panel.logits + row * panel.stride + first;
  const LogSum sum = sumOfRow<kMoments>(logits, count, maxima, totals);
  if (threadIdx.x == 0) {
    const int64_t at = row * partials.count + firstPartial + blockIdx.y;
    partials.highest[at] = sum.highest;
    partials.total[at] = sum.total;
    if constexpr (kMoments) {
      partials.moments[2 * at] = sum.weighted;
      partials.moments[2 * at + 1] = sum.sum;
    }
  }
  const int32_t* targets = panel.targetStarts + panel.firstRow + row;
  for (int i = targets[0] + threadIdx.x; i < targets[1]; i += blockDim.x) {
    const int label = panel.labels[i] - panel.firstColumn - first;
    if (label >= 0 && label < count) logps[i] = logits[label];
  }
}

__global__ void __launch_bounds__(kFinishThreads)
    logSumExpKernel(Partials partials, int64_t firstRow, int64_t rows,
                    const int32_t* __restrict__ targetStarts, float* __restrict__ logSumExp,
                    float* __restrict__ logps) {
  const int64_t row = int64_t{blockIdx.x} * (kFinishThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int64_t at = row * partials.count;
  const float normalizer = sumOfParts(partials.highest + at, partials.total + at, partials.count).logSumExp();
  const int lane = threadIdx.x % kWarp;
  if (lane == 0) logSumExp[firstRow + row] = normalizer;
  targetStarts += firstRow + row;
  for (int i = targetStarts[0] + lane; i < targetStarts[1]; i += kWarp) logps[i] -= normalizer;
}

// Entropy, mean logit and highest log-probability of a row, by one warp, after logSumExpKernel.
__global__ void __launch_bounds__(kFinishThreads)
    statisticsKernel(Partials partials, int64_t firstRow, int64_t rows, int vocabulary,
                     const float* __restrict__ logSumExp, float* __restrict__ statistics) {
  const int64_t row = int64_t{blockIdx.x} * (kFinishThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int64_t at = row * partials.count;
  const LogSum sum = sumOfParts(partials.highest + at, partials.total + at, partials.count);
  const float shift = shiftFor(sum.highest);
  const int lane = threadIdx.x % kWarp;
  double weighted = 0, logits = 0;
  for (int64_t i = at + lane; i < at + partials.count; i += kWarp) {
    const float below = partials.highest[i] - shift;
    // A part without any finite logit has nothing to add.
    if (partials.total[i] != 0)
      weighted += expf(below) * (partials.moments[2 * i] + below * partials.total[i]);
    logits += partials.moments[2 * i + 1];
  }
  weighted = warpReduce(weighted, Sum());
  logits = warpReduce(logits, Sum());
  if (lane != 0) return;
  statistics += 3 * (firstRow + row);
  statistics[0] = static_cast<float>(log(sum.total) - weighted / sum.total);
  statistics[1] = static_cast<float>(logits / vocabulary);
  statistics[2] = sum.highest - logSumExp[firstRow + row];
}

// The gradient of one part of a row. dLogits f32 are the panel's logits themselves.
template <typename T>
__global__ void __launch_bounds__(kLogprobThreads)
    panelGradientKernel(Panel panel, int partWidth, const float* __restrict__ logSumExp,
                        const float* __restrict__ dLogps, T* dLogits, int64_t dLogitsStride) {
  const int64_t row = blockIdx.x;
  const int first = blockIdx.y * partWidth;
  const int count = panel.columns - first < partWidth ? panel.columns - first : partWidth;
  const float* logits = panel.logits + row * panel.stride + first;
  dLogits += row * dLogitsStride + first;
  const int begin = panel.targetStarts[panel.firstRow + row],
            end = panel.targetStarts[panel.firstRow + row + 1];
  if (begin == end) {
    mapRow(logits, dLogits, count, [](float) { return 0.0f; });
    return;
  }
  double sum = 0;  // a row has few targets, mostly one
  for (int i = begin; i < end; ++i) sum += dLogps[i];
  const float normalizer = logSumExp[panel.firstRow + row], total = static_cast<float>(sum);
  const auto gradient = [&](float logit) { return softmaxGradient(logit, normalizer, total); };
  mapRow(logits, dLogits, count, gradient);
  __syncthreads();
  for (int i = begin + threadIdx.x; i < end; i += blockDim.x) {
    const int column = panel.labels[i] - panel.firstColumn - first;
    if (column < 0 || column >= count) continue;
    // The first target of a label adds the gradients of all that share it.
    bool isFirst = true;
    double added = 0;
    for (int other = begin; other < end; ++other) {
      if (panel.labels[other] != panel.labels[i]) continue;
      if (other < i) isFirst = false;
      added += dLogps[other];
    }
    if (!isFirst) continue;
    // Next to a softmax near 1 the two terms nearly cancel, so bf16 rounds their sum only. In f32 the logit
    // is gone.
    const float shared = std::is_same_v<T, float> ? toFloat(dLogits[column]) : gradient(logits[column]);
    dLogits[column] = fromFloat<T>(static_cast<float>(added) + shared);
  }
}

// ---- panels --------------------------------------------------------------------------------------------

// What both passes know: the problem, and where its logits are.
struct Problem {
  const TensorView& hidden;
  const TensorView& weight;
  const TensorView& rows;
  const TensorView& targetRows;
  const TensorView& labels;
  const TensorView& keptLogits;  // [M, V], or without data

  int64_t rowCount() const { return rows.shape[0]; }
  int64_t vocabulary() const { return weight.shape[0]; }
  int64_t width() const { return weight.shape[1]; }
  // The address of the first weight, or gradient of a weight, of a column of the logits.
  char* at(const TensorView& matrix, int64_t column) const {
    return static_cast<char*>(matrix.data) + column * width() * sizeOf(matrix.dtype);
  }
};

// The sizes of panels, at most. Groups of rows are equally large, and so are the panels of a group. The rows
// of a panel have no gaps between them: a single one lies as kept logits do, and gives the same bits.
struct Layout {
  int64_t rows, columns, panels;

  explicit Layout(const Problem& problem) {
    const int64_t vocabulary = problem.vocabulary();
    rows = ceilDiv(problem.rowCount(), ceilDiv(problem.rowCount(), kMostRows));
    const int64_t fitting = kPanelElements / rows / kColumnStep * kColumnStep;
    panels = ceilDiv(vocabulary, fitting);
    columns = std::min(vocabulary, ceilDiv(ceilDiv(vocabulary, panels), kColumnStep) * kColumnStep);
  }
};

// targetStarts[m] = the first target of row m or a later one, on the device; m up to M.
const int32_t* uploadTargetStarts(Context& context, const Problem& problem) {
  std::vector<int32_t> starts(static_cast<size_t>(problem.rowCount()) + 1);
  for (int64_t i = 0; i < problem.labels.shape[0]; ++i)
    ++starts[static_cast<size_t>(problem.targetRows.host[i]) + 1];
  for (size_t row = 1; row < starts.size(); ++row) starts[row] += starts[row - 1];
  return context.upload(ScratchSlot::targets, starts);
}

template <typename T>
void gatherRows(Context& context, const Problem& problem, int64_t firstRow, int64_t count, void* target) {
  launch(
      context,
      {.operation = "linearLogprob", .grid = dim3(static_cast<unsigned>(count)), .block = dim3(kCopyThreads)},
      gatherRowsKernel<T>, static_cast<const T*>(problem.hidden.data), problem.rows.i32() + firstRow,
      problem.width(), static_cast<T*>(target));
}

// Calls `visit(panel, hidden rows)` for every panel of a group of rows, then `end(first row, rows, target
// starts)`.
template <typename T, typename Visit, typename End>
void forEachPanel(Context& context, const Problem& problem, const Layout& layout, Visit&& visit, End&& end) {
  const int64_t vocabulary = problem.vocabulary();
  const int32_t* targetStarts = uploadTargetStarts(context, problem);
  T* hiddenRows = context.scratchOf<T>(ScratchSlot::hiddenRows, layout.rows * problem.width());
  const bool kept = static_cast<bool>(problem.keptLogits);
  float* panelLogits =
      kept ? nullptr : context.scratchOf<float>(ScratchSlot::logits, layout.rows * layout.columns);
  for (int64_t firstRow = 0; firstRow < problem.rowCount(); firstRow += layout.rows) {
    const int64_t rows = std::min(layout.rows, problem.rowCount() - firstRow);
    gatherRows<T>(context, problem, firstRow, rows, hiddenRows);
    for (int64_t column = 0; column < vocabulary; column += layout.columns) {
      visit(Panel{.logits = kept ? problem.keptLogits.f32() + firstRow * vocabulary + column : panelLogits,
                  .stride = kept ? vocabulary : layout.columns,
                  .rows = rows,
                  .firstRow = firstRow,
                  .columns = static_cast<int>(std::min(layout.columns, vocabulary - column)),
                  .firstColumn = static_cast<int>(column),
                  .targetStarts = targetStarts,
                  .labels = problem.labels.i32()},
            hiddenRows);
    }
    end(firstRow, rows, targetStarts);
  }
}

// logits [rows, columns] = hidden rows weight[panel]^T
void multiplyByWeight(Context& context, const Problem& problem, const Panel& panel, const void* hiddenRows) {
  matmul(context, {.transposeB = true,
                   .m = panel.rows,
                   .n = panel.columns,
                   .k = problem.width(),
                   .a = hiddenRows,
                   .lda = problem.width(),
                   .aType = problem.hidden.dtype,
                   .b = problem.at(problem.weight, panel.firstColumn),
                   .ldb = problem.width(),
                   .bType = problem.weight.dtype,
                   .c = panel.logits,
                   .ldc = panel.stride});
}

// A block for every part of every row; the last panel may have fewer parts than the others.
dim3 gridOf(const Panel& panel, const RowParts& split) {
  return dim3(static_cast<unsigned>(panel.rows), static_cast<unsigned>(ceilDiv(panel.columns, split.width)));
}

template <typename T>
void forward(Context& context, const LinearLogprobArgs& args) {
  const Problem problem{args.hidden, args.weight, args.rows, args.targetRows, args.labels, args.logits};
  const Layout layout(problem);
  const RowParts split = partsForSum(context, layout.rows, layout.columns);
  const int64_t before = layout.panels - 1;  // of the last panel
  const int64_t count =
      before * split.count + ceilDiv(problem.vocabulary() - before * layout.columns, split.width);
  const Partials partials{context.scratchOf<float>(ScratchSlot::panelMaximum, layout.rows * count),
                          context.scratchOf<double>(ScratchSlot::panelTotal, layout.rows * count),
                          args.statistics
                              ? context.scratchOf<double>(ScratchSlot::panelMoments, 2 * layout.rows * count)
                              : nullptr,
                          static_cast<int>(count)};
  forEachPanel<T>(
      context, problem, layout,
      [&](const Panel& panel, const T* hiddenRows) {
        multiplyByWeight(context, problem, panel, hiddenRows);
        launch(context,
               {.operation = "linearLogprob",
                .grid = gridOf(panel, split),
                .block = dim3(threadsFor(split.width, kSumPerThread<float>))},
               args.statistics ? panelSumKernel<true> : panelSumKernel<false>, panel, split.width, partials,
               panel.firstColumn / layout.columns * split.count, args.logps.f32());
      },
      [&](int64_t firstRow, int64_t rows, const int32_t* targetStarts) {
        const Launch finish{.operation = "linearLogprob",
                            .grid = dim3(static_cast<unsigned>(ceilDiv(rows, kFinishThreads / kWarp))),
                            .block = dim3(kFinishThreads)};
        launch(context, finish, logSumExpKernel, partials, firstRow, rows, targetStarts, args.logSumExp.f32(),
               args.logps.f32());
        if (!args.statistics) return;
        launch(context, finish, statisticsKernel, partials, firstRow, rows,
               static_cast<int>(problem.vocabulary()), args.logSumExp.f32(), args.statistics.f32());
      });
}

template <typename T>
void backward(Context& context, const LinearLogprobBackwardArgs& args) {
  const Problem problem{args.hidden, args.weight, args.rows, args.targetRows, args.labels, args.logits};
  const Layout layout(problem);
  const RowParts split = splitColumns(layout.columns, ceilDiv(layout.columns, kGradientColumns));
  const int64_t width = problem.width();
  const DType dtype = args.hidden.dtype;
  float* dHiddenRows = context.scratchOf<float>(ScratchSlot::dHiddenRows, layout.rows * width);
  forEachPanel<T>(
      context, problem, layout,
      [&](const Panel& panel, const T* hiddenRows) {
        if (!args.logits) multiplyByWeight(context, problem, panel, hiddenRows);
        T* dLogits;
        int64_t stride;
        if constexpr (std::is_same_v<T, float>) {
          dLogits = panel.logits;
          stride = panel.stride;
        } else {
          // The products are faster where rows begin on 16-byte boundaries.
          stride = ceilDiv(layout.columns, kVector<T>) * kVector<T>;
          dLogits = context.scratchOf<T>(ScratchSlot::dLogits, layout.rows * stride);
        }
        launch(context,
               {.operation = "linearLogprobBackward",
                .grid = gridOf(panel, split),
                .block = dim3(threadsFor(split.width, kGradientPerThread<T>))},
               panelGradientKernel<T>, panel, split.width, args.logSumExp.f32(), args.dLogps.f32(), dLogits,
               stride);
        // dHidden = dLogits weight, summed over the panels in f32
        matmul(context, {.m = panel.rows,
                         .n = width,
                         .k = panel.columns,
                         .a = dLogits,
                         .lda = stride,
                         .aType = dtype,
                         .b = problem.at(args.weight, panel.firstColumn),
                         .ldb = width,
                         .bType = dtype,
                         .c = dHiddenRows,
                         .ldc = width,
                         .beta = panel.firstColumn == 0 ? 0.0f : 1.0f});
        // dWeight[panel] += dLogits^T hidden
        matmul(context, {.transposeA = true,
                         .m = panel.columns,
                         .n = width,
                         .k = panel.rows,
                         .a = dLogits,
                         .lda = stride,
                         .aType = dtype,
                         .b = hiddenRows,
                         .ldb = width,
                         .bType = dtype,
                         .c = problem.at(args.dWeight, panel.firstColumn),
                         .ldc = width,
                         .beta = 1});
      },
      [&](int64_t firstRow, int64_t rows, const int32_t*) {
        launch(context,
               {.operation = "linearLogprobBackward",
                .grid = dim3(static_cast<unsigned>(rows)),
                .block = dim3(kCopyThreads)},
               scatterRowsKernel<T>, dHiddenRows, args.rows.i32() + firstRow, width,
               static_cast<T*>(args.dHidden.data));
      });
}

}  // namespace

void linearLogprob(Context& context, const LinearLogprobArgs& args) {
  args.hidden.dtype == DType::bf16 ? forward<bf16>(context, args) : forward<float>(context, args);
}

void linearLogprobBackward(Context& context, const LinearLogprobBackwardArgs& args) {
  args.hidden.dtype == DType::bf16 ? backward<bf16>(context, args) : backward<float>(context, args);
}

}  // namespace sralign::cuda
