// Packed attention, forward. For every query i, over the keys j it sees (backend.h):
//   s_j = q k_j / sqrt(headDim);  logSumExp = log sum_j exp(s_j);  out = sum_j exp(s_j - logSumExp) v_j
//
// A block takes a tile of queries of one head and lets the keys of its chain pass by, tile by tile from the
// diagonal up to the root, with a running maximum and sum of each row (Milakov and Gimelshein 2018,
// Dao 2023). Keys and values take turns on the way to shared memory: each is copied while the other is
// multiplied.
//
// Launch: grid (query tiles * heads), most keys first; block 64 or 128 threads, a warp for 16 queries; shared
//   memory one tile of queries, one of keys and one of values, at most 99 KB.
// Moves, with R queries of a tile, E bytes of an element and P pairs of a query and a key it sees:
//   bytes = 2 T heads headDim E + 2 P / R heads headDim E (mostly from cache) + 4 T heads
//   FLOPs = 4 P heads headDim
#include "attention_forward.h"

#include <cmath>

#include "ops.h"

namespace sralign::cuda {

namespace {

// The running maximum (of scores in units of log 2) and sum of exponentials of rows g and g + 8.
struct RunningSoftmax {
  float highest[2] = {-INFINITY, -INFINITY};
  float total[2] = {0, 0};  // of this lane's columns

  // scores [16, 8 N] -> exp(factor scores - maximum); `sums` [16, 8 M] are brought to the new maximum.
  template <int N, int M>
  __device__ __forceinline__ void update(float (&scores)[N][4], float factor, float (&sums)[M][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float best = -INFINITY;
#pragma unroll
      for (int n = 0; n < N; ++n) best = fmaxf(best, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
      best = fmaxf(best, __shfl_xor_sync(kAllLanes, best, 1));
      best = fmaxf(best, __shfl_xor_sync(kAllLanes, best, 2));
      best = fmaxf(highest[half], best * factor);
      const float shift = best == -INFINITY ? 0.0f : best;  // a row that has seen no key yet: no inf - inf
      const float correction = exp2Fast(highest[half] - shift);
      highest[half] = best;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < N; ++n) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores[n][i] = exp2Fast(fmaf(scores[n][i], factor, -shift));
          sum += scores[n][i];
        }
      }
      total[half] = total[half] * correction + sum;
#pragma unroll
      for (int m = 0; m < M; ++m) {
        sums[m][2 * half] *= correction;
        sums[m][2 * half + 1] *= correction;
      }
    }
  }
  __device__ __forceinline__ float wholeTotal(int half) const {
    const float pair = total[half] + __shfl_xor_sync(kAllLanes, total[half], 1);
    return pair + __shfl_xor_sync(kAllLanes, pair, 2);
  }
};

template <typename T, int D>
__global__ void __launch_bounds__(TileShape<T, D>::kThreads, TileShape<T, D>::kBlocks)
    attentionKernel(const ForwardArgs args, const Span* __restrict__ segments, const Span* __restrict__ tiles,
                    float factor) {
  using Shape = TileShape<T, D>;
  constexpr int kKeys = Shape::kKeys;
  SRALIGN_DYNAMIC_SHARED(memory);
  T* queries = reinterpret_cast<T*>(memory);
  T* keys = queries + Shape::kRows * kStride<T, D>;
  T* values = keys + kKeys * kStride<T, D>;

  const Span tile = tiles[blockIdx.x / args.heads];
  const int head = blockIdx.x % args.heads, kvHead = head / args.group;
  const int lane = threadIdx.x % kWarp, firstRow = threadIdx.x / kWarp * 16;
  T* ownQueries = queries + firstRow * kStride<T, D>;
  KeyWalk<kKeys> walk(segments, tile, args.window);
  const auto load = [&](T* target, const HeadRows& rows) {
    loadTile<T, D, kKeys, Shape::kThreads>(target, rows.template at<const T>(walk.row(), kvHead),
                                           rows.rowStride, walk.count, args.dim, args.vectors);
  };
  const int queryRow = tile.row - args.firstQuery;
  loadTile<T, D, Shape::kRows, Shape::kThreads>(queries, args.queries.template at<const T>(queryRow, head),
                                                args.queries.rowStride, tile.count, args.dim, args.vectors);
  load(keys, args.keys);
  copyAsyncCommit();
  load(values, args.values);
  copyAsyncCommit();

  float out[D / 8][4] = {};
  RunningSoftmax softmax;
  bool more = true;
  while (more) {
    const int firstKey = walk.position(), count = walk.count;
    more = walk.next();
    copyAsyncWait<1>();  // the keys
    __syncthreads();
    float scores[kKeys / 8][4] = {};
    multiplyRows<D>(scores, ownQueries, keys);
    __syncthreads();
    if (more) load(keys, args.keys);
    copyAsyncCommit();  // where there is none, an empty group keeps the count
    maskKeys(scores, tile.position + firstRow, firstKey, count, args.window);
    softmax.update(scores, factor, out);
    copyAsyncWait<1>();  // the values
    __syncthreads();
    multiplyWeights<D>(out, scores, values);
    __syncthreads();
    if (more) load(values, args.values);
    copyAsyncCommit();
  }

  const float total[2] = {softmax.wholeTotal(0), softmax.wholeTotal(1)};
  const int rows = tile.count - firstRow;  // of this warp; 0 or fewer: none
  storeRows<T, D>(ownQueries, out, 1 / total[0], 1 / total[1],
                  args.out.template at<T>(queryRow + firstRow, head), args.out.rowStride, rows, args.dim,
                  args.vectors);
  if (args.logSumExp != nullptr && lane % 4 == 0) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = lane / 4 + 8 * half;
      if (row < rows) {
        args.logSumExp[(int64_t{queryRow} + firstRow + row) * args.heads + head] =
            softmax.highest[half] * kLn2 + logf(total[half]);
      }
    }
  }
}

}  // namespace

void attendForest(Context& context, const char* operation, DType type, const ForwardArgs& args,
                  const std::vector<Span>& segments) {
  withTileType(type, args.dim, operation, [&]<typename T, int D>() {
    using Shape = TileShape<T, D>;
    std::vector<Span> tiles = DepthFirstTiles(segments, Shape::kRows).tiles;
    std::erase_if(tiles, [&](const Span& tile) { return tile.row < args.firstQuery; });
    sortByKeys(tiles, args.window);
    std::vector<Span> spans = segments;
    spans.insert(spans.end(), tiles.begin(), tiles.end());
    const Span* uploaded = context.upload(ScratchSlot::attentionTiles, spans);
    const size_t rows = Shape::kRows + 2 * Shape::kKeys;
    launch(context,
           {.operation = operation,
            .grid = dim3(static_cast<unsigned>(tiles.size() * args.heads)),
            .block = dim3(Shape::kThreads),
            .sharedBytes = rows * kStride<T, D> * sizeof(T)},
           attentionKernel<T, D>, args, uploaded, uploaded + segments.size(),
           kLog2E / std::sqrt(static_cast<float>(args.dim)));
  });
}

void attention(Context& context, const AttentionArgs& args) {
  const HeadShape& heads = args.heads;
  const ForwardArgs forward = {.queries = queryRows(args.qkv, heads),
                               .keys = keyRows(args.qkv, heads),
                               .values = valueRows(args.qkv, heads),
                               .out = headRows(args.out, 0, heads.headDim),
                               .logSumExp = args.logSumExp.f32(),
                               .firstQuery = 0,
                               .heads = static_cast<int32_t>(heads.heads),
                               .group = static_cast<int32_t>(heads.heads / heads.kvHeads),
                               .dim = static_cast<int32_t>(heads.headDim),
                               .window = windowOf(args.window),
                               .vectors = wholeVectors(heads, args.qkv, args.out)};
  attendForest(context, "attention", args.qkv.dtype, forward, segmentSpans(args.segments));
}

}  // namespace sralign::cuda
