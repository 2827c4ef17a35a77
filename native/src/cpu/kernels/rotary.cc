// Rotary position embedding, in place on the query and key heads of qkv. For i < Rh, at position p:
//   (x_i, x_{i+Rh}) -> (x_i cos - x_{i+Rh} sin, x_{i+Rh} cos + x_i sin),  cos, sin = cosines[p][i],
//   sines[p][i]
// The inverse turns by -sin. Elements from 2 Rh on stay. f32 arithmetic.
#include "kernels_isa.h"
#include "simd.h"

namespace sralign::cpu::SRALIGN_ISA {

namespace {

template <typename T>
void rotateHead(T* head, const float* cosines, const float* sines, int64_t half, float direction) {
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const Vf a = load(head + i), b = load(head + half + i);
    const Vf c = load(cosines + i), s = load(sines + i) * direction;
    store(head + i, a * c - b * s);
    store(head + half + i, b * c + a * s);
  }
  for (; i < half; ++i) {
    const float a = toF32(head[i]), b = toF32(head[half + i]);
    const float c = cosines[i], s = sines[i] * direction;
    store(head + i, a * c - b * s);
    store(head + half + i, b * c + a * s);
  }
}

template <typename T>
void rotate(const RotaryArgs& args, T* qkv) {
  const HeadShape& heads = args.heads;
  const int64_t tokens = args.qkv.shape[0], rowWidth = args.qkv.shape[1], half = args.cosines.shape[1];
  const float direction = args.inverse ? -1.0f : 1.0f;
  const int32_t* positions = args.positions.i32();
#pragma omp parallel for schedule(static) if (tokens > 1)
  for (int64_t t = 0; t < tokens; ++t) {
    T* row = qkv + t * rowWidth;
    const float* cosines = args.cosines.f32() + positions[t] * half;
    const float* sines = args.sines.f32() + positions[t] * half;
    for (int64_t h = 0; h < heads.heads; ++h)
      rotateHead(row + heads.queryOffset(h), cosines, sines, half, direction);
    for (int64_t h = 0; h < heads.kvHeads; ++h)
      rotateHead(row + heads.keyOffset(h), cosines, sines, half, direction);
  }
}

}  // namespace

void rotary(const RotaryArgs& args) {
  if (args.qkv.dtype == DType::bf16) {
    rotate(args, args.qkv.bf16());
  } else {
    rotate(args, args.qkv.f32());
  }
}

}  // namespace sralign::cpu::SRALIGN_ISA
