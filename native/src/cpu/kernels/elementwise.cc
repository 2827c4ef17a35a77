// Operations that meet every element once: bound by memory, so plain loops that the compiler vectorises.
#include "bf16.h"
#include "kernels_isa.h"

namespace sralign::cpu::SRALIGN_ISA {

namespace {

constexpr int64_t kColumnBlock = 64;

template <typename T>
void addTo(const float* a, const T* b, int64_t count, float* out) {
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < count; ++i) out[i] = a[i] + toF32(b[i]);
}

template <typename From, typename To>
void convert(const From* x, int64_t count, To* out) {
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < count; ++i) store(out + i, toF32(x[i]));
}

template <typename T>
void addColumnSums(const T* dOut, int64_t rows, int64_t columns, float* dBias) {
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < columns; first += kColumnBlock) {
    const int64_t width = columns - first < kColumnBlock ? columns - first : kColumnBlock;
    float sums[kColumnBlock] = {};
    for (int64_t t = 0; t < rows; ++t) {
      const T* row = dOut + t * columns + first;
      for (int64_t n = 0; n < width; ++n) sums[n] += toF32(row[n]);
    }
    for (int64_t n = 0; n < width; ++n) dBias[first + n] += sums[n];
  }
}

}  // namespace

void add(const AddArgs& args) {
  const int64_t count = args.out.numel();
  if (args.b.dtype == DType::bf16) {
    addTo(args.a.f32(), args.b.bf16(), count, args.out.f32());
  } else {
    addTo(args.a.f32(), args.b.f32(), count, args.out.f32());
  }
}

void cast(const CastArgs& args) {
  const int64_t count = args.out.numel();
  const bool fromBf16 = args.x.dtype == DType::bf16, toBf16 = args.out.dtype == DType::bf16;
  if (fromBf16 && toBf16) {
    convert(args.x.bf16(), count, args.out.bf16());
  } else if (fromBf16) {
    convert(args.x.bf16(), count, args.out.f32());
  } else if (toBf16) {
    convert(args.x.f32(), count, args.out.bf16());
  } else {
    convert(args.x.f32(), count, args.out.f32());
  }
}

void scale(const ScaleArgs& args) {
  float* x = args.x.f32();
  const int64_t count = args.x.numel();
  const float factor = args.factor;
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < count; ++i) x[i] *= factor;
}

void biasFill(const TensorView& bias, const TensorView& out) {
  const int64_t rows = out.shape[0], columns = out.shape[1];
  const float* source = bias.f32();
  float* target = out.f32();
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t n = 0; n < columns; ++n) target[t * columns + n] = source[n];
  }
}

void biasBackward(const TensorView& dOut, const TensorView& dBias) {
  const int64_t rows = dOut.shape[0], columns = dOut.shape[1];
  if (dOut.dtype == DType::bf16) {
    addColumnSums(dOut.bf16(), rows, columns, dBias.f32());
  } else {
    addColumnSums(dOut.f32(), rows, columns, dBias.f32());
  }
}

}  // namespace sralign::cpu::SRALIGN_ISA
