// Log-probabilities of labels under softmax(logits), and their gradient.
//   lse = log sum_v exp(l_v);   logp_i = l_label(i) - lse
//   dl_v = sum_i g_i (onehot(label i) - softmax_v) = [sum of g_i with label v] - G exp(l_v - lse),  G = sum_i
//   g_i
// with i over the targets of a row. V = vocabulary, m = rows, R = targets. A row is read once from memory:
// block by block, first its maximum, then (from the first-level cache) the sum of exponentials, in f32 lanes
// within a block and in double across blocks. Gradients overwrite.
#include "kernels_isa.h"
#include "simd.h"

namespace sralign::cpu::SRALIGN_ISA {

namespace {

constexpr int kStreams = 4;  // independent sums, to hide the latency of exp
constexpr int kStep = kStreams * kLanes;
constexpr int64_t kBlock = 32 * kStep;  // at most 8 KiB

template <typename T>
float maximum(const T* x, int64_t count) {
  const Vf least = splat(-__builtin_inff());
  Vf lanes[kStreams] = {least, least, least, least};
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    for (int s = 0; s < kStreams; ++s) lanes[s] = max(lanes[s], load(x + i + s * kLanes));
  }
  for (; i + kLanes <= count; i += kLanes) lanes[0] = max(lanes[0], load(x + i));
  if (i < count) lanes[1] = max(lanes[1], loadPartial(x + i, count - i, -__builtin_inff()));
  return largest(max(max(lanes[0], lanes[1]), max(lanes[2], lanes[3])));
}

template <typename T>
float sumOfExp(const T* x, int64_t count, float shift) {
  Vf lanes[kStreams] = {};
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    for (int s = 0; s < kStreams; ++s) lanes[s] += exp(load(x + i + s * kLanes) - shift);
  }
  for (; i + kLanes <= count; i += kLanes) lanes[0] += exp(load(x + i) - shift);
  if (i < count) lanes[1] += exp(loadPartial(x + i, count - i, -__builtin_inff()) - shift);
  return sum((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]));
}

template <typename T>
float sumOf(const T* x, int64_t count) {
  Vf lanes[kStreams] = {};
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    for (int s = 0; s < kStreams; ++s) lanes[s] += load(x + i + s * kLanes);
  }
  for (; i + kLanes <= count; i += kLanes) lanes[0] += load(x + i);
  if (i < count) lanes[1] += loadPartial(x + i, count - i, 0);
  return sum((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]));
}

// The sum of exp(x - shift), and with the factor x - shift. exp is 0 far below this, where -inf times it must
// be too.
constexpr float kLowest = -100;

template <typename T>
void sumsOfExp(const T* x, int64_t count, float shift, float& total, float& weighted) {
  Vf totals[kStreams] = {}, products[kStreams] = {};
  const auto add = [&](int s, Vf value) {
    const Vf below = value - shift;
    const Vf exponential = exp(below);
    totals[s] += exponential;
    products[s] += exponential * max(below, splat(kLowest));
  };
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    for (int s = 0; s < kStreams; ++s) add(s, load(x + i + s * kLanes));
  }
  for (; i + kLanes <= count; i += kLanes) add(0, load(x + i));
  if (i < count) add(1, loadPartial(x + i, count - i, -__builtin_inff()));
  total = sum((totals[0] + totals[1]) + (totals[2] + totals[3]));
  weighted = sum((products[0] + products[1]) + (products[2] + products[3]));
}

// sum of exp(logit - highest) over the columns seen so far.
struct RunningSum {
  float highest = -__builtin_inff();
  double total = 0;

  // The same, and the moments.
  void addWithMoments(const float* logits, int64_t columns, RowMoments& moments) {
    for (int64_t first = 0; first < columns; first += kBlock) {
      const int64_t count = columns - first < kBlock ? columns - first : kBlock;
      const float blockHighest = maximum(logits + first, count);
      if (blockHighest > highest) {
        if (total != 0) {
          const double shift = static_cast<double>(highest) - blockHighest;
          const double factor = __builtin_exp(shift);
          moments.weighted = factor * (moments.weighted + shift * total);
          total *= factor;
        }
        highest = blockHighest;
      }
      float blockTotal, blockWeighted;
      sumsOfExp(logits + first, count, highest == -__builtin_inff() ? 0.0f : highest, blockTotal,
                blockWeighted);
      total += blockTotal;
      moments.weighted += blockWeighted;
      moments.sum += sumOf(logits + first, count);
    }
  }

  template <typename T>
  void add(const T* logits, int64_t columns) {
    for (int64_t first = 0; first < columns; first += kBlock) {
      const int64_t count = columns - first < kBlock ? columns - first : kBlock;
      const float blockHighest = maximum(logits + first, count);
      if (blockHighest > highest) {
        total *= __builtin_exp(static_cast<double>(highest) - blockHighest);
        highest = blockHighest;
      }
      // Before the first finite logit there is nothing to shift by; exp(-inf - 0) adds 0, a NaN still shows.
      total += sumOfExp(logits + first, count, highest == -__builtin_inff() ? 0.0f : highest);
    }
  }

  // -inf for a row of -inf alone; NaN where the row holds a NaN or +inf.
  float logSumExp() const { return static_cast<float>(highest + __builtin_log(total)); }
};

// dLogits = -total * softmax, the part of the gradient all targets of the row share.
template <typename T, typename D>
void softmaxGradient(const T* logits, int64_t vocabulary, float logSumExp, float total, D* dLogits) {
  int64_t v = 0;
  for (; v + kLanes <= vocabulary; v += kLanes)
    store(dLogits + v, -total * exp(load(logits + v) - logSumExp));
  if (v < vocabulary) {
    const int64_t rest = vocabulary - v;
    storePartial(dLogits + v, -total * exp(loadPartial(logits + v, rest, 0) - logSumExp), rest);
  }
}

// The same for one element.
float softmaxGradientAt(float logit, float logSumExp, float total) {
  return -total * exp(splat(logit - logSumExp))[0];
}

template <typename D>
void zeroRow(D* row, int64_t count) {
  for (int64_t v = 0; v < count; ++v) row[v] = 0;
}

// First target of [first, last) that belongs to `row` or a later one.
int64_t firstTargetOf(const int32_t* targetRows, int64_t first, int64_t last, int64_t row) {
  while (first < last) {
    const int64_t middle = first + (last - first) / 2;
    if (targetRows[middle] < row) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  return first;
}

// dLogits f32 may be `logits` itself. In bf16 the gradient at a label is rounded once, from the sum of all
// its terms: next to a softmax near 1 they nearly cancel.
template <typename D>
void panelGradient(const LogprobPanelArgs& args, D* dLogits) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < args.rowCount; ++i) {
    const int64_t row = args.firstRow + i;
    const int64_t first = firstTargetOf(args.targetRows, 0, args.targetCount, row);
    const int64_t last = firstTargetOf(args.targetRows, first, args.targetCount, row + 1);
    const float* logits = args.logits + i * args.logitsStride;
    D* target = dLogits + i * args.dLogitsStride;
    const float logSumExp = args.logSumExp[row];
    if (first == last) {
      zeroRow(target, args.columns);
      continue;
    }
    double total = 0;
    for (int64_t r = first; r < last; ++r) total += args.dLogps[r];
    const float shared = static_cast<float>(total);
    softmaxGradient(logits, args.columns, logSumExp, shared, target);
    for (int64_t r = first; r < last; ++r) {
      const int64_t label = args.labels[r] - args.firstColumn;
      if (label < 0 || label >= args.columns) continue;
      if constexpr (sizeof(D) == sizeof(float)) {
        target[label] += args.dLogps[r];
      } else {
        double here = softmaxGradientAt(logits[label], logSumExp, shared);
        for (int64_t other = first; other < last; ++other) {
          if (args.labels[other] == args.labels[r]) here += args.dLogps[other];
        }
        store(target + label, static_cast<float>(here));
      }
    }
  }
}

template <typename T>
void gather(const T* logits, const int32_t* labels, int64_t rows, int64_t vocabulary, float* logps,
            float* logSumExp) {
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < rows; ++i) {
    if (labels[i] < 0) {
      logps[i] = logSumExp[i] = 0;
      continue;
    }
    const T* row = logits + i * vocabulary;
    RunningSum sum;
    sum.add(row, vocabulary);
    logSumExp[i] = sum.logSumExp();
    logps[i] = toF32(row[labels[i]]) - logSumExp[i];
  }
}

template <typename T>
void gatherGradient(const T* logits, const int32_t* labels, const float* logSumExp, const float* dLogps,
                    int64_t rows, int64_t vocabulary, T* dLogits) {
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < rows; ++i) {
    T* target = dLogits + i * vocabulary;
    if (labels[i] < 0) {
      zeroRow(target, vocabulary);
      continue;
    }
    const T* row = logits + i * vocabulary;
    const float atLabel = dLogps[i] + softmaxGradientAt(toF32(row[labels[i]]), logSumExp[i], dLogps[i]);
    softmaxGradient(row, vocabulary, logSumExp[i], dLogps[i], target);
    store(target + labels[i], atLabel);
  }
}

}  // namespace

void logprobPanel(const LogprobPanelArgs& args) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < args.rowCount; ++i) {
    const int64_t row = args.firstRow + i;
    const float* logits = args.logits + i * args.logitsStride;
    RunningSum sum{args.highest[row], args.total[row]};
    if (args.moments == nullptr) {
      sum.add(logits, args.columns);
    } else {
      sum.addWithMoments(logits, args.columns, args.moments[row]);
    }
    args.highest[row] = sum.highest;
    args.total[row] = sum.total;
    const int64_t first = firstTargetOf(args.targetRows, 0, args.targetCount, row);
    for (int64_t r = first; r < args.targetCount && args.targetRows[r] == row; ++r) {
      const int64_t label = args.labels[r] - args.firstColumn;
      if (label >= 0 && label < args.columns) args.logps[r] = logits[label];
    }
  }
}

void logprobPanelBackward(const LogprobPanelArgs& args) {
  if (args.dLogits.dtype == DType::bf16) {
    panelGradient(args, args.dLogits.bf16());
  } else {
    panelGradient(args, args.dLogits.f32());
  }
}

void logprobGather(const LogprobGatherArgs& args) {
  const int64_t rows = args.logits.shape[0], vocabulary = args.logits.shape[1];
  const int32_t* labels = args.labels.i32();
  if (args.logits.dtype == DType::bf16) {
    gather(args.logits.bf16(), labels, rows, vocabulary, args.logps.f32(), args.logSumExp.f32());
  } else {
    gather(args.logits.f32(), labels, rows, vocabulary, args.logps.f32(), args.logSumExp.f32());
  }
}

void logprobGatherBackward(const LogprobGatherBackwardArgs& args) {
  const int64_t rows = args.logits.shape[0], vocabulary = args.logits.shape[1];
  const int32_t* labels = args.labels.i32();
  const float* logSumExp = args.logSumExp.f32();
  const float* dLogps = args.dLogps.f32();
  if (args.logits.dtype == DType::bf16) {
    gatherGradient(args.logits.bf16(), labels, logSumExp, dLogps, rows, vocabulary, args.dLogits.bf16());
  } else {
    gatherGradient(args.logits.f32(), labels, logSumExp, dLogps, rows, vocabulary, args.dLogits.f32());
  }
}

}  // namespace sralign::cpu::SRALIGN_ISA
