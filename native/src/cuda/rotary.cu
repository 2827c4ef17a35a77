// Rotary position embedding, in place on the query and key heads of qkv. For i < Rh, at position p:
//   (x_i, x_{i+Rh}) -> (x_i cos - x_{i+Rh} sin, x_{i+Rh} cos + x_i sin)
//   cos = cosines[p][i], sin = sines[p][i]
// The inverse turns by -sin. Elements from 2 Rh on stay. f32 arithmetic.
//
// Launch: a thread for 16 bytes of x_i and 16 of x_{i+Rh} (for one element of each where they are not
//   aligned); block 256, no shared memory.
// Moves, with E bytes of an element:
//   bytes = 4 T (heads + kvHeads) Rh E + 8 T Rh (from cache for all heads but the first)
#include "common.cuh"
#include "head_rows.cuh"
#include "ops.h"

namespace sralign::cuda {

namespace {

struct RotaryTask {
  HeadRows queries, keys;
  const int32_t* positions;
  const float *cosines, *sines;
  int64_t tokens;
  int32_t heads, kvHeads, half;
  float direction;
};

// kCount elements of each half at a time, 1 or as many as fit 16 bytes.
template <typename T, int kCount>
__global__ void __launch_bounds__(256) rotaryKernel(const RotaryTask task) {
  const int pieces = task.half / kCount, heads = task.heads + task.kvHeads;
  const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x, perToken = int64_t{heads} * pieces;
  const int64_t token = index / perToken;
  if (token >= task.tokens) return;
  const int inToken = static_cast<int>(index % perToken);
  const int head = inToken / pieces, i = inToken % pieces * kCount;
  const bool isQuery = head < task.heads;
  const HeadRows& rows = isQuery ? task.queries : task.keys;
  T* low = rows.template at<T>(token, isQuery ? head : head - task.heads) + i;
  T* high = low + task.half;
  const int64_t angle = int64_t{task.positions[token]} * task.half + i;
  const auto turn = [&](T& a, T& b, float cosine, float sine) {
    const float x = toFloat(a), y = toFloat(b);
    sine *= task.direction;
    a = fromFloat<T>(x * cosine - y * sine);
    b = fromFloat<T>(y * cosine + x * sine);
  };
  if constexpr (kCount == 1) {
    turn(*low, *high, task.cosines[angle], task.sines[angle]);
  } else {
    Vector<T> x = Vector<T>::load(low), y = Vector<T>::load(high);
#pragma unroll
    for (int j = 0; j < kCount; j += 4) {
      const Vector<float> cosines = Vector<float>::load(task.cosines + angle + j);
      const Vector<float> sines = Vector<float>::load(task.sines + angle + j);
#pragma unroll
      for (int k = 0; k < 4; ++k) turn(x.values[j + k], y.values[j + k], cosines.values[k], sines.values[k]);
    }
    x.store(low);
    y.store(high);
  }
}

template <typename T>
void rotate(Context& context, const RotaryTask& task, bool vectors) {
  const int64_t pieces = task.half / (vectors ? kVector<T> : 1);
  const int64_t threads = task.tokens * (task.heads + task.kvHeads) * pieces;
  launch(
      context,
      {.operation = "rotary", .grid = dim3(static_cast<unsigned>(ceilDiv(threads, 256))), .block = dim3(256)},
      vectors ? rotaryKernel<T, kVector<T>> : rotaryKernel<T, 1>, task);
}

}  // namespace

void rotary(Context& context, const RotaryArgs& args) {
  const HeadShape& heads = args.heads;
  const int64_t half = args.cosines.shape[1];
  const RotaryTask task = {.queries = queryRows(args.qkv, heads),
                           .keys = keyRows(args.qkv, heads),
                           .positions = args.positions.i32(),
                           .cosines = args.cosines.f32(),
                           .sines = args.sines.f32(),
                           .tokens = args.qkv.shape[0],
                           .heads = static_cast<int32_t>(heads.heads),
                           .kvHeads = static_cast<int32_t>(heads.kvHeads),
                           .half = static_cast<int32_t>(half),
                           .direction = args.inverse ? -1.0f : 1.0f};
  const bool vectors = wholeVectors(heads, args.qkv) && half * sizeOf(args.qkv.dtype) % 16 == 0 &&
                       aligned16(args.cosines.data) && aligned16(args.sines.data);
  if (args.qkv.dtype == DType::bf16) {
    rotate<bf16>(context, task, vectors);
  } else {
    rotate<float>(context, task, vectors);
  }
}

}  // namespace sralign::cuda
