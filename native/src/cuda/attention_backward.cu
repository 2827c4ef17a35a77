// Packed attention, backward. With S = Q K^T / sqrt(headDim) where a query sees a key:
//   P = exp(S - logSumExp);  delta = rowsum(dOut out);  dS = P (dOut V^T - delta)
//   dQ = dS K / sqrt(headDim);  dK = dS^T Q / sqrt(headDim);  dV = P^T dOut
//
// P is computed again from Q and K, once for dQ by blocks that own queries (their keys pass by as in
// attention.cu) and once for dK and dV by blocks that own keys: the query tiles of their segment from the
// diagonal on and of all segments below pass by, for every head of the group. So each sum has one owner and
// one order. Where far more queries see a tile of keys than most, several blocks share them; their partial
// sums are added by a kernel of its own, in order.
//
// Launch: delta: grid (T heads / 32), block 256. sums: grid (shared key tiles * key heads, elements / 256, dK
//   and dV), block 256. Others: block 64 or 128 threads, a warp for 16 rows; shared memory two tiles of own
//   rows and two of rows that pass, at most 99 KB; grid of dQ (query tiles * heads), of dK and dV
//   (key tasks * key heads, slices of headDim).
// Moves, with R own rows of a tile, E bytes of an element and P pairs of a query and a key it sees:
//   bytes = 2 T rowWidth E + 3 T heads headDim E + 4 P / R heads headDim E (mostly from cache) + 16 T heads
//   FLOPs = 14 P heads headDim, 18 where headDim > 128 takes two slices
#include <cmath>

#include "attention_forest.h"
#include "attention_tiles.cuh"
#include "common.cuh"
#include "ops.h"

namespace sralign::cuda {

namespace {

struct BackwardArgs {
  HeadRows queries, keys, values, out, dOut, dQueries, dKeys, dValues;
  const float* logSumExp;  // [T, heads]
  float* delta;            // [T, heads]
  float* partials;         // [partials, kvHeads, 2, rows of a key tile, D]: dK and dV
  int64_t tokens;
  int32_t heads, kvHeads, group, dim, window;
  float scale;
  bool vectors;  // wholeVectors of all tensors
};

// delta [T, heads] = the sums of dOut out over a head, by eight lanes each.
template <typename T>
__global__ void __launch_bounds__(256) attentionDeltaKernel(const BackwardArgs args) {
  const int64_t index = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 8;
  const bool inside = index < args.tokens * args.heads;
  const int64_t token = index / args.heads, head = index % args.heads;
  const int part = threadIdx.x % 8;
  float sum = 0;
  if (inside) {
    const T* out = args.out.template at<const T>(token, head);
    const T* dOut = args.dOut.template at<const T>(token, head);
    if (args.vectors) {
      for (int d = part * kVector<T>; d < args.dim; d += 8 * kVector<T>) {
        const Vector<T> a = Vector<T>::load(out + d), b = Vector<T>::load(dOut + d);
#pragma unroll
        for (int j = 0; j < kVector<T>; ++j) sum = fmaf(toFloat(a.values[j]), toFloat(b.values[j]), sum);
      }
    } else {
      for (int d = part; d < args.dim; d += 8) sum = fmaf(toFloat(out[d]), toFloat(dOut[d]), sum);
    }
  }
#pragma unroll
  for (int distance = 4; distance > 0; distance /= 2) sum += __shfl_xor_sync(kAllLanes, sum, distance);
  if (inside && part == 0) args.delta[index] = sum;
}

template <typename T, int D>
__global__ void __launch_bounds__(TileShape<T, D>::kThreads, TileShape<T, D>::kBlocks)
    attentionQueryGradientKernel(const BackwardArgs args, const Span* __restrict__ segments,
                                 const Span* __restrict__ tiles) {
  using Shape = TileShape<T, D>;
  constexpr int kKeys = Shape::kKeys;
  SRALIGN_DYNAMIC_SHARED(memory);
  T* queries = reinterpret_cast<T*>(memory);
  T* dOuts = queries + Shape::kRows * kStride<T, D>;
  T* keys = dOuts + Shape::kRows * kStride<T, D>;
  T* values = keys + kKeys * kStride<T, D>;

  const Span tile = tiles[blockIdx.x / args.heads];
  const int head = blockIdx.x % args.heads, kvHead = head / args.group;
  const int firstRow = threadIdx.x / kWarp * 16, rows = tile.count - firstRow;
  KeyWalk<kKeys> walk(segments, tile, args.window);
  const auto loadKeys = [&](T* target, const HeadRows& from) {
    loadTile<T, D, kKeys, Shape::kThreads>(target, from.template at<const T>(walk.row(), kvHead),
                                           from.rowStride, walk.count, args.dim, args.vectors);
  };
  const auto loadOwn = [&](T* target, const HeadRows& from) {
    loadTile<T, D, Shape::kRows, Shape::kThreads>(target, from.template at<const T>(tile.row, head),
                                                  from.rowStride, tile.count, args.dim, args.vectors);
  };
  loadOwn(queries, args.queries);
  loadOwn(dOuts, args.dOut);
  loadKeys(values, args.values);
  copyAsyncCommit();
  loadKeys(keys, args.keys);
  copyAsyncCommit();

  float logSumExp[2], delta[2];  // of rows g and g + 8, logSumExp in units of log 2
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = threadIdx.x % kWarp / 4 + 8 * half;
    const int64_t at = (int64_t{tile.row} + firstRow + row) * args.heads + head;
    logSumExp[half] = row < rows ? args.logSumExp[at] * kLog2E : 0.0f;
    delta[half] = row < rows ? args.delta[at] : 0.0f;
  }

  const float factor = args.scale * kLog2E;
  float dQueries[D / 8][4] = {};
  bool more = true;
  while (more) {
    const int firstKey = walk.position(), count = walk.count;
    more = walk.next();
    copyAsyncWait<1>();  // the values
    __syncthreads();
    float dScores[kKeys / 8][4] = {};
    multiplyRows<D>(dScores, dOuts + firstRow * kStride<T, D>, values);
    __syncthreads();
    if (more) loadKeys(values, args.values);
    copyAsyncCommit();   // where there is none, an empty group keeps the count
    copyAsyncWait<1>();  // the keys
    __syncthreads();
    float scores[kKeys / 8][4] = {};
    multiplyRows<D>(scores, queries + firstRow * kStride<T, D>, keys);
    maskKeys(scores, tile.position + firstRow, firstKey, count, args.window);
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float weight = exp2Fast(fmaf(scores[n][i], factor, -logSumExp[i / 2]));
        dScores[n][i] = weight * (dScores[n][i] - delta[i / 2]);
      }
    }
    multiplyWeights<D>(dQueries, dScores, keys);
    __syncthreads();
    if (more) loadKeys(keys, args.keys);
    copyAsyncCommit();
  }
  storeRows<T, D>(queries + firstRow * kStride<T, D>, dQueries, args.scale, args.scale,
                  args.dQueries.template at<T>(int64_t{tile.row} + firstRow, head), args.dQueries.rowStride,
                  rows, args.dim, args.vectors);
}

// The partial sums of one task, key head and kind (0: dK, 1: dV).
template <typename T, int D>
__device__ __forceinline__ float* partialSums(const BackwardArgs& args, int partial, int kvHead, int kind) {
  const int64_t index = (int64_t{partial} * args.kvHeads + kvHead) * 2 + kind;
  return args.partials + index * TileShape<T, D>::kRows * D;
}

// Columns [slice, slice + 8 N) of the warp's sums of dK or dV.
template <typename T, int D, int N>
__device__ __forceinline__ void storeKeyGradient(const BackwardArgs& args, const KeyTask& task, T* own,
                                                 const float (&sums)[N][4], float factor, int kvHead,
                                                 int slice, int kind) {
  const int lane = threadIdx.x % kWarp, firstRow = threadIdx.x / kWarp * 16;
  if (task.partial < 0) {
    const HeadRows& rows = kind == 0 ? args.dKeys : args.dValues;
    storeRows<T, D>(own + firstRow * kStride<T, D>, sums, factor, factor,
                    rows.template at<T>(int64_t{task.keys.row} + firstRow, kvHead) + slice, rows.rowStride,
                    task.keys.count - firstRow, args.dim - slice, args.vectors);
    return;
  }
  float* target = partialSums<T, D>(args, task.partial, kvHead, kind) + (firstRow + lane / 4) * D + slice;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const int column = 8 * n + lane % 4 * 2;
    *reinterpret_cast<float2*>(target + column) = {sums[n][0] * factor, sums[n][1] * factor};
    *reinterpret_cast<float2*>(target + column + 8 * D) = {sums[n][2] * factor, sums[n][3] * factor};
  }
}

template <typename T, int D>
__global__ void __launch_bounds__(TileShape<T, D>::kThreads, TileShape<T, D>::kBlocks)
    attentionKeyGradientKernel(const BackwardArgs args, const KeyTask* __restrict__ tasks,
                               const Span* __restrict__ tiles) {
  using Shape = TileShape<T, D>;
  constexpr int kQueries = Shape::kQueries, kHeld = (kQueries + kWarp - 1) / kWarp, kSlice = Shape::kSlice;
  SRALIGN_DYNAMIC_SHARED(memory);
  T* keys = reinterpret_cast<T*>(memory);
  T* values = keys + Shape::kRows * kStride<T, D>;
  T* queries = values + Shape::kRows * kStride<T, D>;
  T* dOuts = queries + kQueries * kStride<T, D>;

  const KeyTask task = tasks[blockIdx.x / args.kvHeads];
  const int kvHead = blockIdx.x % args.kvHeads, slice = blockIdx.y * kSlice;
  const int lane = threadIdx.x % kWarp, firstRow = threadIdx.x / kWarp * 16;
  const int lastPosition = task.keys.position + task.keys.count - 1;

  // The query tiles that see a key of this tile, each once for every head of the group.
  int at = task.first, head = kvHead * args.group;
  const auto skipUnseeing = [&] {
    while (at < task.end && tiles[at].position - args.window >= lastPosition) ++at;
  };
  const auto next = [&] {
    if (++head < (kvHead + 1) * args.group) return;
    head = kvHead * args.group;
    ++at;
    skipUnseeing();
  };
  const auto loadOwn = [&](T* target, const HeadRows& from) {
    loadTile<T, D, Shape::kRows, Shape::kThreads>(target, from.template at<const T>(task.keys.row, kvHead),
                                                  from.rowStride, task.keys.count, args.dim, args.vectors);
  };
  const auto loadQueries = [&](T* target, const HeadRows& from) {
    loadTile<T, D, kQueries, Shape::kThreads>(target, from.template at<const T>(tiles[at].row, head),
                                              from.rowStride, tiles[at].count, args.dim, args.vectors);
  };
  skipUnseeing();
  loadOwn(keys, args.keys);
  loadOwn(values, args.values);
  if (at < task.end) loadQueries(dOuts, args.dOut);
  copyAsyncCommit();
  if (at < task.end) loadQueries(queries, args.queries);
  copyAsyncCommit();

  const float factor = args.scale * kLog2E;
  float dKeys[kSlice / 8][4] = {}, dValues[kSlice / 8][4] = {};
  while (at < task.end) {
    const Span tile = tiles[at];
    float logSumExp[kHeld], delta[kHeld];  // of query `lane`, `lane` + 32
#pragma unroll
    for (int held = 0; held < kHeld; ++held) {
      const int row = held * kWarp + lane;
      const int64_t source = (int64_t{tile.row} + row) * args.heads + head;
      logSumExp[held] = row < tile.count ? args.logSumExp[source] * kLog2E : INFINITY;  // P = 0 beyond
      delta[held] = row < tile.count ? args.delta[source] : 0.0f;
    }
    next();
    copyAsyncWait<1>();  // dOut
    __syncthreads();
    float dScores[kQueries / 8][4] = {};
    multiplyRows<D>(dScores, values + firstRow * kStride<T, D>, dOuts);
    copyAsyncWait<0>();  // the queries
    __syncthreads();
    float weights[kQueries / 8][4] = {};
    multiplyRows<D>(weights, keys + firstRow * kStride<T, D>, queries);
    const int firstKey = task.keys.position + firstRow;
    if (firstKey + 15 > tile.position || firstKey <= tile.position + kQueries - 1 - args.window) {
      const int diagonal = firstKey + lane / 4 - tile.position;  // the first query that sees key g
      maskScores(weights, diagonal, diagonal + args.window, kQueries);
    }
#pragma unroll
    for (int n = 0; n < kQueries / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = 8 * n + i, query = (column + lane % 4 * 2) % kWarp;
        const float shift = __shfl_sync(kAllLanes, logSumExp[column / kWarp], query);
        const float mean = __shfl_sync(kAllLanes, delta[column / kWarp], query);
#pragma unroll
        for (int down = i; down < 4; down += 2) {  // rows g and g + 8
          weights[n][down] = exp2Fast(fmaf(weights[n][down], factor, -shift));
          dScores[n][down] = weights[n][down] * (dScores[n][down] - mean);
        }
      }
    }
    multiplyWeights<D>(dValues, weights, dOuts + slice);
    __syncthreads();
    if (at < task.end) loadQueries(dOuts, args.dOut);
    copyAsyncCommit();
    multiplyWeights<D>(dKeys, dScores, queries + slice);
    __syncthreads();
    if (at < task.end) loadQueries(queries, args.queries);
    copyAsyncCommit();
  }
  copyAsyncWait<0>();  // nothing may arrive after the rows of keys are used for the way out
  __syncthreads();
  storeKeyGradient<T, D>(args, task, keys, dKeys, args.scale, kvHead, slice, 0);
  storeKeyGradient<T, D>(args, task, values, dValues, 1.0f, kvHead, slice, 1);
}

// Adds the partial sums of the shared key tiles; blockIdx.z: the kind.
template <typename T, int D>
__global__ void __launch_bounds__(256)
    attentionKeySumsKernel(const BackwardArgs args, const KeyTask* __restrict__ shared) {
  const KeyTask task = shared[blockIdx.x / args.kvHeads];
  const int kvHead = blockIdx.x % args.kvHeads, i = blockIdx.y * blockDim.x + threadIdx.x;
  const int row = i / D, column = i % D;
  if (row >= task.keys.count || column >= args.dim) return;
  float sum = 0;
  for (int partial = task.first; partial < task.end; ++partial) {
    sum += partialSums<T, D>(args, partial, kvHead, blockIdx.z)[i];
  }
  const HeadRows& rows = blockIdx.z == 0 ? args.dKeys : args.dValues;
  rows.template at<T>(int64_t{task.keys.row} + row, kvHead)[column] = fromFloat<T>(sum);
}

template <typename T, int D>
void backward(Context& context, BackwardArgs args, const std::vector<Span>& segments) {
  using Shape = TileShape<T, D>;
  const char* operation = "attentionBackward";
  const unsigned heads = static_cast<unsigned>(args.heads), kvHeads = static_cast<unsigned>(args.kvHeads);
  const auto shared = [](size_t rows) { return rows * kStride<T, D> * sizeof(T); };
  launch(context,
         {.operation = operation,
          .grid = dim3(static_cast<unsigned>(ceilDiv(args.tokens * args.heads, 256 / 8))),
          .block = dim3(256)},
         attentionDeltaKernel<T>, args);

  // One list for both kernels: the segments, the query tiles by their work, and those in depth-first order.
  std::vector<Span> sorted = DepthFirstTiles(segments, Shape::kRows).tiles;
  sortByKeys(sorted, args.window);
  const DepthFirstTiles queries(segments, Shape::kQueries);
  std::vector<Span> spans = segments;
  spans.insert(spans.end(), sorted.begin(), sorted.end());
  spans.insert(spans.end(), queries.tiles.begin(), queries.tiles.end());
  const Span* uploaded = context.upload(ScratchSlot::attentionTiles, spans);
  const Span* uploadedQueries = uploaded + segments.size() + sorted.size();
  launch(context,
         {.operation = operation,
          .grid = dim3(static_cast<unsigned>(sorted.size()) * heads),
          .block = dim3(Shape::kThreads),
          .sharedBytes = shared(2 * Shape::kRows + 2 * Shape::kKeys)},
         attentionQueryGradientKernel<T, D>, args, uploaded, uploaded + segments.size());

  // With tasks no longer than an eighth of what a multiprocessor has to do, all end at about the same time.
  constexpr int64_t kTasksOfProcessor = 8;
  const KeyTasks keys(segments, queries, Shape::kRows, Shape::kQueries,
                      ceilDiv(context.multiprocessors() * kTasksOfProcessor, args.kvHeads));
  std::vector<KeyTask> tasks = keys.tasks;
  tasks.insert(tasks.end(), keys.shared.begin(), keys.shared.end());
  const KeyTask* uploadedTasks = context.upload(ScratchSlot::attentionDescendants, tasks);
  if (keys.partials > 0) {
    args.partials = context.scratchOf<float>(ScratchSlot::reduction,
                                             int64_t{keys.partials} * args.kvHeads * 2 * Shape::kRows * D);
  }
  launch(context,
         {.operation = operation,
          .grid = dim3(static_cast<unsigned>(keys.tasks.size()) * kvHeads, D / Shape::kSlice),
          .block = dim3(Shape::kThreads),
          .sharedBytes = shared(2 * Shape::kRows + 2 * Shape::kQueries)},
         attentionKeyGradientKernel<T, D>, args, uploadedTasks, uploadedQueries);
  launch(context,
         {.operation = operation,
          .grid = dim3(static_cast<unsigned>(keys.shared.size()) * kvHeads, Shape::kRows * D / 256, 2),
          .block = dim3(256)},
         attentionKeySumsKernel<T, D>, args, uploadedTasks + keys.tasks.size());
}

}  // namespace

void attentionBackward(Context& context, const AttentionBackwardArgs& args) {
  const HeadShape& heads = args.heads;
  const int64_t tokens = args.qkv.shape[0];
  const BackwardArgs backwardArgs = {
      .queries = queryRows(args.qkv, heads),
      .keys = keyRows(args.qkv, heads),
      .values = valueRows(args.qkv, heads),
      .out = headRows(args.out, 0, heads.headDim),
      .dOut = headRows(args.dOut, 0, heads.headDim),
      .dQueries = queryRows(args.dQkv, heads),
      .dKeys = keyRows(args.dQkv, heads),
      .dValues = valueRows(args.dQkv, heads),
      .logSumExp = args.logSumExp.f32(),
      .delta = context.scratchOf<float>(ScratchSlot::attentionDelta, tokens * heads.heads),
      .partials = nullptr,
      .tokens = tokens,
      .heads = static_cast<int32_t>(heads.heads),
      .kvHeads = static_cast<int32_t>(heads.kvHeads),
      .group = static_cast<int32_t>(heads.heads / heads.kvHeads),
      .dim = static_cast<int32_t>(heads.headDim),
      .window = windowOf(args.window),
      .scale = 1 / std::sqrt(static_cast<float>(heads.headDim)),
      .vectors = wholeVectors(heads, args.qkv, args.out, args.dOut, args.dQkv)};
  withTileType(args.qkv.dtype, heads.headDim, "attentionBackward", [&]<typename T, int D>() {
    backward<T, D>(context, backwardArgs, segmentSpans(args.segments));
  });
}

}  // namespace sralign::cuda
