// Layer normalisation and root-mean-square normalisation over the last axis.
//   layer: xh = (x - mean) rstd, rstd = 1 / sqrt(var + eps);  out = xh w + b
//   rms:   xh = x rstd, rstd = 1 / sqrt(mean(x^2) + eps);     out = xh w
//   backward, with e = dOut w:  dX = rstd (e - [mean(e)] - xh mean(e xh))   ([..]: layer only)
//                               dW = sum_t dOut xh;  dB = sum_t dOut
// T = tokens, H = hidden size. Statistics come from a row in the first-level cache (mean first, then squared
// distances to it) in f32 lanes added up in double. dX overwrites or accumulates; dW and dB are added to what
// is there: each block of tokens sums its own part, the parts are added in order. The blocks do not depend on
// the number of threads.
#include "../scratch.h"
#include "kernels_isa.h"
#include "simd.h"

namespace sralign::cpu::SRALIGN_ISA {

namespace {

constexpr int kStreams = 4;
constexpr int kStep = kStreams * kLanes;

double total(const Vf (&lanes)[kStreams]) {
  double result = 0;
  for (int i = 0; i < kLanes; ++i) {
    result +=
        (static_cast<double>(lanes[0][i]) + lanes[1][i]) + (static_cast<double>(lanes[2][i]) + lanes[3][i]);
  }
  return result;
}

// sum over i of f(x_i); f maps vectors and must give 0 for the lanes beyond the end, marked by `inside` = 0.
template <typename F>
inline double sumOver(int64_t width, F&& f) {
  Vf lanes[kStreams] = {};
  int64_t h = 0;
  for (; h + kStep <= width; h += kStep) {
    for (int s = 0; s < kStreams; ++s) lanes[s] += f.whole(h + s * kLanes);
  }
  for (; h + kLanes <= width; h += kLanes) lanes[0] += f.whole(h);
  if (h < width) lanes[1] += f.partial(h, width - h);
  return total(lanes);
}

struct Values {
  const float* x;
  Vf whole(int64_t h) const { return load(x + h); }
  Vf partial(int64_t h, int64_t count) const { return loadPartial(x + h, count, 0); }
};

struct SquaredDistances {
  const float* x;
  float mean;
  Vf whole(int64_t h) const {
    const Vf d = load(x + h) - mean;
    return d * d;
  }
  Vf partial(int64_t h, int64_t count) const {
    const Vf d = loadPartial(x + h, count, mean) - mean;
    return d * d;
  }
};

template <bool kCentered, typename T>
void forward(const float* x, const float* weight, const float* bias, float epsilon, int64_t rows,
             int64_t width, T* out, float* means, float* rstds) {
#pragma omp parallel for schedule(static) if (rows > 1)
  for (int64_t t = 0; t < rows; ++t) {
    const float* row = x + t * width;
    T* target = out + t * width;
    const float mean = kCentered ? static_cast<float>(sumOver(width, Values{row}) / width) : 0.0f;
    const double variance = sumOver(width, SquaredDistances{row, mean}) / width;
    const float rstd = static_cast<float>(1 / __builtin_sqrt(variance + epsilon));
    if (kCentered) means[t] = mean;
    rstds[t] = rstd;
    const auto normalised = [&](Vf value, Vf w, Vf b) {
      return kCentered ? (value - mean) * rstd * w + b : value * rstd * w;
    };
    int64_t h = 0;
    for (; h + kLanes <= width; h += kLanes) {
      store(target + h, normalised(load(row + h), load(weight + h), kCentered ? load(bias + h) : Vf{}));
    }
    for (; h < width; ++h) {
      const float value =
          kCentered ? (row[h] - mean) * rstd * weight[h] + bias[h] : row[h] * rstd * weight[h];
      store(target + h, value);
    }
  }
}

// Tokens whose parts of dW and dB are summed together: at most 64 parts, so that they stay small.
int64_t tokensPerBlock(int64_t rows) {
  constexpr int64_t kLeast = 32, kMostBlocks = 64;
  const int64_t even = (rows + kMostBlocks - 1) / kMostBlocks;
  return even < kLeast ? kLeast : even;
}

struct RowGradient {
  float mean, rstd;
  float meanOfE, meanOfEXh;
};

template <bool kCentered, typename T>
RowGradient rowGradient(const float* x, const float* weight, const T* dOut, int64_t width, float mean,
                        float rstd) {
  Vf sumE[kStreams] = {}, sumEXh[kStreams] = {};
  const auto add = [&](int stream, Vf value, Vf w, Vf d) {
    const Vf e = d * w;
    if (kCentered) sumE[stream] += e;
    sumEXh[stream] += e * ((value - mean) * rstd);
  };
  int64_t h = 0;
  for (; h + kStep <= width; h += kStep) {
    for (int s = 0; s < kStreams; ++s) {
      const int64_t at = h + s * kLanes;
      add(s, load(x + at), load(weight + at), load(dOut + at));
    }
  }
  for (; h < width; h += kLanes) {
    const int64_t rest = width - h;
    if (rest >= kLanes) {
      add(0, load(x + h), load(weight + h), load(dOut + h));
    } else {
      add(1, loadPartial(x + h, rest, mean), loadPartial(weight + h, rest, 0),
          loadPartial(dOut + h, rest, 0));
    }
  }
  return {mean, rstd, static_cast<float>(total(sumE) / width), static_cast<float>(total(sumEXh) / width)};
}

// dX of one row, and its part of dW and dB.
template <bool kCentered, bool kAccumulate, typename T>
void addRow(const RowGradient& row, const float* x, const float* weight, const T* dOut, int64_t width,
            float* dX, float* dWeight, float* dBias) {
#pragma omp simd
  for (int64_t h = 0; h < width; ++h) {
    const float d = toF32(dOut[h]);
    const float xh = (x[h] - row.mean) * row.rstd;
    const float dx = row.rstd * (d * weight[h] - row.meanOfE - xh * row.meanOfEXh);
    dX[h] = kAccumulate ? dX[h] + dx : dx;
    dWeight[h] += d * xh;
    if (kCentered) dBias[h] += d;
  }
}

// dW and dB share one part [2 H] per block.
template <bool kCentered, bool kAccumulate, typename T>
void backward(const float* x, const float* weight, const float* means, const float* rstds, const T* dOut,
              int64_t rows, int64_t width, float* dX, float* dWeight, float* dBias) {
  const int64_t blockTokens = tokensPerBlock(rows), blocks = (rows + blockTokens - 1) / blockTokens;
  const int64_t partWidth = kCentered ? 2 * width : width;
  float* parts = static_cast<float*>(
      scratch(ScratchSlot::norm, static_cast<size_t>(blocks * partWidth) * sizeof(float)));
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      float* part = parts + block * partWidth;
      __builtin_memset(part, 0, static_cast<size_t>(partWidth) * sizeof(float));
      const int64_t first = block * blockTokens;
      const int64_t end = first + blockTokens < rows ? first + blockTokens : rows;
      for (int64_t t = first; t < end; ++t) {
        const float* row = x + t * width;
        const T* source = dOut + t * width;
        const RowGradient gradient =
            rowGradient<kCentered>(row, weight, source, width, kCentered ? means[t] : 0.0f, rstds[t]);
        addRow<kCentered, kAccumulate>(gradient, row, weight, source, width, dX + t * width, part,
                                       part + width);
      }
    }
#pragma omp for schedule(static)
    for (int64_t first = 0; first < partWidth; first += kStep) {
      const int64_t end = first + kStep < partWidth ? first + kStep : partWidth;
      float sums[kStep] = {};
      for (int64_t block = 0; block < blocks; ++block) {
        const float* part = parts + block * partWidth;
        for (int64_t h = first; h < end; ++h) sums[h - first] += part[h];
      }
      for (int64_t h = first; h < end; ++h) (h < width ? dWeight[h] : dBias[h - width]) += sums[h - first];
    }
  }
}

template <bool kCentered, typename T>
void backward(const float* x, const float* weight, const float* means, const float* rstds, const T* dOut,
              int64_t rows, int64_t width, bool accumulate, float* dX, float* dWeight, float* dBias) {
  if (accumulate) {
    backward<kCentered, true>(x, weight, means, rstds, dOut, rows, width, dX, dWeight, dBias);
  } else {
    backward<kCentered, false>(x, weight, means, rstds, dOut, rows, width, dX, dWeight, dBias);
  }
}

}  // namespace

void layerNorm(const LayerNormArgs& a) {
  const int64_t rows = a.x.shape[0], width = a.x.shape[1];
  if (a.out.dtype == DType::bf16) {
    forward<true>(a.x.f32(), a.weight.f32(), a.bias.f32(), a.epsilon, rows, width, a.out.bf16(), a.mean.f32(),
                  a.rstd.f32());
  } else {
    forward<true>(a.x.f32(), a.weight.f32(), a.bias.f32(), a.epsilon, rows, width, a.out.f32(), a.mean.f32(),
                  a.rstd.f32());
  }
}

void layerNormBackward(const LayerNormBackwardArgs& a) {
  const int64_t rows = a.x.shape[0], width = a.x.shape[1];
  if (a.dOut.dtype == DType::bf16) {
    backward<true>(a.x.f32(), a.weight.f32(), a.mean.f32(), a.rstd.f32(), a.dOut.bf16(), rows, width,
                   a.accumulate, a.dX.f32(), a.dWeight.f32(), a.dBias.f32());
  } else {
    backward<true>(a.x.f32(), a.weight.f32(), a.mean.f32(), a.rstd.f32(), a.dOut.f32(), rows, width,
                   a.accumulate, a.dX.f32(), a.dWeight.f32(), a.dBias.f32());
  }
}

void rmsNorm(const RmsNormArgs& a) {
  const int64_t rows = a.x.shape[0], width = a.x.shape[1];
  if (a.out.dtype == DType::bf16) {
    forward<false>(a.x.f32(), a.weight.f32(), nullptr, a.epsilon, rows, width, a.out.bf16(), nullptr,
                   a.rstd.f32());
  } else {
    forward<false>(a.x.f32(), a.weight.f32(), nullptr, a.epsilon, rows, width, a.out.f32(), nullptr,
                   a.rstd.f32());
  }
}

void rmsNormBackward(const RmsNormBackwardArgs& a) {
  const int64_t rows = a.x.shape[0], width = a.x.shape[1];
  if (a.dOut.dtype == DType::bf16) {
    backward<false>(a.x.f32(), a.weight.f32(), nullptr, a.rstd.f32(), a.dOut.bf16(), rows, width,
                    a.accumulate, a.dX.f32(), a.dWeight.f32(), nullptr);
  } else {
    backward<false>(a.x.f32(), a.weight.f32(), nullptr, a.rstd.f32(), a.dOut.f32(), rows, width, a.accumulate,
                    a.dX.f32(), a.dWeight.f32(), nullptr);
  }
}

}  // namespace sralign::cpu::SRALIGN_ISA
