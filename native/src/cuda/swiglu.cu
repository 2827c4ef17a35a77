// Gated activation over rows gate g [F] | up u [F], all arithmetic in f32; s: logistic function.
//   forward:   out = g s(g) u
//   backward:  dG = dOut u s(g) (1 + g (1 - s(g))),  dU = dOut g s(g)
//
// Launch: a thread per group of elements of a row (16 bytes, or one element where a half row is not aligned
// to that), up to kRowThreads a block, blocks by rows.cuh, no shared memory.
//
// Bytes, T rows, elements of size E: forward 3 T F E, backward 5 T F E. FLOPs: about 20 T F and 25 T F.
#include <cmath>

#include "ops.h"
#include "rows.cuh"

namespace sralign::cuda {

namespace {

template <int kGroup, typename T>
__global__ void __launch_bounds__(kRowThreads)
    swigluKernel(const T* gateUp, unsigned stretches, int64_t width, T* out) {
  const RowPlace place = rowPlace<kGroup>(stretches);
  if (place.column >= width) return;
  const T* gate = gateUp + 2 * place.row * width + place.column;
  float g[kGroup], u[kGroup];
  loadGroup(gate, g);
  loadGroup(gate + width, u);
#pragma unroll
  for (int i = 0; i < kGroup; ++i) u[i] *= g[i] * (1.0f / (1.0f + expf(-g[i])));
  storeGroup(out + place.row * width + place.column, u);
}

template <int kGroup, typename T>
__global__ void __launch_bounds__(kRowThreads)
    swigluBackwardKernel(const T* gateUp, const T* dOut, unsigned stretches, int64_t width, T* dGateUp) {
  const RowPlace place = rowPlace<kGroup>(stretches);
  if (place.column >= width) return;
  const int64_t offset = 2 * place.row * width + place.column;
  float g[kGroup], u[kGroup], d[kGroup];
  loadGroup(gateUp + offset, g);
  loadGroup(gateUp + offset + width, u);
  loadGroup(dOut + place.row * width + place.column, d);
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    const float e = expf(-g[i]), s = 1.0f / (1.0f + e);
    // 1 - s = e s, which keeps its accuracy where s is close to 1. The limit matters only where s rounds to
    // 0.
    const float complement = fminf(1e30f, e) * s;
    const float dUp = d[i] * g[i] * s;
    g[i] = d[i] * u[i] * (s + g[i] * s * complement);
    u[i] = dUp;
  }
  storeGroup(dGateUp + offset, g);
  storeGroup(dGateUp + offset + width, u);
}

}  // namespace

void swiglu(Context& context, const SwigluArgs& args) {
  withType(args.out.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int kGroup = kGroupOf<T>;
    const int64_t rows = args.out.shape[0], width = args.out.shape[1];
    const T* gateUp = elementsOf<T>(args.gateUp);
    T* out = elementsOf<T>(args.out);
    const bool grouped = width % kGroup == 0 && groupAligned<kGroup>(gateUp, out);
    const RowBlocks blocks = rowBlocks(rows, width, grouped ? kGroup : 1);
    launch(context, {.operation = "swiglu", .grid = blocks.grid, .block = blocks.block},
           grouped ? swigluKernel<kGroup, T> : swigluKernel<1, T>, gateUp, blocks.stretches, width, out);
  });
}

void swigluBackward(Context& context, const SwigluBackwardArgs& args) {
  withType(args.dOut.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int kGroup = kGroupOf<T>;
    const int64_t rows = args.dOut.shape[0], width = args.dOut.shape[1];
    const T *gateUp = elementsOf<T>(args.gateUp), *dOut = elementsOf<T>(args.dOut);
    T* dGateUp = elementsOf<T>(args.dGateUp);
    const bool grouped = width % kGroup == 0 && groupAligned<kGroup>(gateUp, dOut, dGateUp);
    const RowBlocks blocks = rowBlocks(rows, width, grouped ? kGroup : 1);
    launch(context, {.operation = "swigluBackward", .grid = blocks.grid, .block = blocks.block},
           grouped ? swigluBackwardKernel<kGroup, T> : swigluBackwardKernel<1, T>, gateUp, dOut,
           blocks.stretches, width, dGateUp);
  });
}

}  // namespace sralign::cuda
