// Attention of new tokens against a cache of keys and values (backend.h): generation. A row of the cache is
// its own chain position. A prompt goes through tiles of queries like the packed forward pass: the old rows
// are a segment, the new ones another below it. A single token has one query per head and would leave a tile
// empty, so it has kernels of its own that spread the cache over the device:
//   s_j = q k_j / sqrt(headDim);  out = sum_j exp(s_j - m) v_j / sum_j exp(s_j - m),  m = max_j s_j
// f32 arithmetic, except for the tiles.
//
// Launch: append: a thread for each 16 bytes (or element), block 256. Parts: grid (heads, parts of 128 cache
//   rows), block 128, 17 KB of shared memory. Merge: grid (heads), block 128.
// Moves, for T tokens, L rows seen and E bytes of an element:
//   bytes = 4 T kvHeads headDim E + 2 L heads headDim E (once per group from memory, the rest from cache)
//   FLOPs = 4 T L heads headDim
#include <cmath>

#include "attention_forward.h"
#include "ops.h"

namespace sralign::cuda {

namespace {

// Copies the keys and values of the new tokens to their rows of the caches. `Piece` is 16 bytes or an
// element; sizes are in pieces.
template <typename Piece>
__global__ void __launch_bounds__(256)
    appendKernel(HeadRows keys, HeadRows values, HeadRows keyCache, HeadRows valueCache, int64_t tokens,
                 int kvHeads, int pieces) {
  const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x, perToken = int64_t{kvHeads} * pieces;
  const int64_t token = index / perToken, head = index % perToken / pieces, piece = index % pieces;
  if (token >= tokens) return;
  keyCache.at<Piece>(token, head)[piece] = keys.at<const Piece>(token, head)[piece];
  valueCache.at<Piece>(token, head)[piece] = values.at<const Piece>(token, head)[piece];
}

// ---- one token -----------------------------------------------------------------------------------------

constexpr int kPart = 128;                      // cache rows of a block, one per thread in the softmax
constexpr int kTeam = 8;                        // threads that share a row
constexpr int kTeams = kPart / kTeam;           // rows at a time
constexpr int kHeld = kLargestHeadDim / kTeam;  // elements of a row with a thread

struct TokenArgs {
  HeadRows queries, keys, values;  // row 0 of keys and values is the first that the token sees
  float* parts;                    // [heads, parts, dim + 2]: weighted sum of values, maximum, total
  int64_t rows;
  int32_t heads, group, dim;
  float factor;
  bool vectors;
};

// The elements of a row that belong to thread `member` of a team, zeros beyond `dim`. Which ones they are is
// the same for every row: element `column(i)` for each i.
template <typename T, bool kVectors>
struct TeamRow {
  static __device__ __forceinline__ int column(int i, int member) {
    return kVectors ? (i / kVector<T> * kTeam + member) * kVector<T> + i % kVector<T> : i * kTeam + member;
  }
  static __device__ __forceinline__ void load(float (&held)[kHeld], const T* row, int member, int dim) {
    if constexpr (kVectors) {
#pragma unroll
      for (int i = 0; i < kHeld; i += kVector<T>) {
        const bool inside = column(i, member) < dim;
        const Vector<T> vector = inside ? Vector<T>::load(row + column(i, member)) : Vector<T>{};
#pragma unroll
        for (int j = 0; j < kVector<T>; ++j) held[i + j] = inside ? toFloat(vector.values[j]) : 0.0f;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        held[i] = column(i, member) < dim ? toFloat(row[column(i, member)]) : 0.0f;
      }
    }
  }
};

template <typename T, bool kVectors>
__global__ void __launch_bounds__(kPart) attendPartKernel(const TokenArgs args) {
  using Row = TeamRow<T, kVectors>;
  SRALIGN_SHARED(float, weights, kPart);
  SRALIGN_SHARED(float, partial, kWarp);
  constexpr int kSums = kTeams * kLargestHeadDim;
  SRALIGN_SHARED(float, sums, kSums);
  const int head = blockIdx.x, kvHead = head / args.group;
  const int team = threadIdx.x / kTeam, member = threadIdx.x % kTeam;
  const int64_t firstRow = int64_t{blockIdx.y} * kPart;
  const int count = static_cast<int>(args.rows - firstRow < kPart ? args.rows - firstRow : kPart);
  float held[kHeld], query[kHeld];
  Row::load(query, args.queries.template at<const T>(0, head), member, args.dim);
  for (int row = team; row < kPart; row += kTeams) {
    float score = 0;
    if (row < count) {
      Row::load(held, args.keys.template at<const T>(firstRow + row, kvHead), member, args.dim);
#pragma unroll
      for (int i = 0; i < kHeld; ++i) score = fmaf(query[i], held[i], score);
    }
#pragma unroll
    for (int distance = kTeam / 2; distance > 0; distance /= 2) {
      score += __shfl_xor_sync(kAllLanes, score, distance);
    }
    if (member == 0) weights[row] = row < count ? score * args.factor : -INFINITY;
  }
  __syncthreads();
  const float highest = blockReduce(weights[threadIdx.x], partial, -INFINITY, Maximum{});
  const float weight = exp2f(weights[threadIdx.x] - highest);
  const float total = blockReduce(weight, partial, 0.0f, Sum{});
  weights[threadIdx.x] = weight;
  __syncthreads();

  float sum[kHeld] = {};
  for (int row = team; row < count; row += kTeams) {
    Row::load(held, args.values.template at<const T>(firstRow + row, kvHead), member, args.dim);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) sum[i] = fmaf(weights[row], held[i], sum[i]);
  }
#pragma unroll
  for (int i = 0; i < kHeld; ++i) sums[team * kLargestHeadDim + Row::column(i, member)] = sum[i];
  __syncthreads();
  float* part = args.parts + (int64_t{head} * gridDim.y + blockIdx.y) * (args.dim + 2);
  for (int d = threadIdx.x; d < args.dim; d += kPart) {
    float whole = 0;
    for (int t = 0; t < kTeams; ++t) whole += sums[t * kLargestHeadDim + d];
    part[d] = whole;
  }
  if (threadIdx.x == 0) {
    part[args.dim] = highest;
    part[args.dim + 1] = total;
  }
}

// out [heads, dim] from the parts of each head, every one brought to the highest maximum.
template <typename T>
__global__ void __launch_bounds__(kPart)
    mergePartsKernel(const float* __restrict__ all, int parts, int dim, T* __restrict__ out) {
  SRALIGN_SHARED(float, partial, kWarp);
  const int width = dim + 2;
  const float* head = all + int64_t{blockIdx.x} * parts * width;
  float highest = -INFINITY;
  for (int p = threadIdx.x; p < parts; p += kPart) highest = fmaxf(highest, head[int64_t{p} * width + dim]);
  highest = blockReduce(highest, partial, -INFINITY, Maximum{});
  for (int d = threadIdx.x; d < dim; d += kPart) {
    float sum = 0, total = 0;
    for (int p = 0; p < parts; ++p) {
      const float* part = head + int64_t{p} * width;
      const float correction = exp2f(part[dim] - highest);
      sum = fmaf(correction, part[d], sum);
      total = fmaf(correction, part[dim + 1], total);
    }
    out[int64_t{blockIdx.x} * dim + d] = fromFloat<T>(sum / total);
  }
}

template <typename T>
void attendToken(Context& context, const TokenArgs& args, T* out) {
  const unsigned heads = static_cast<unsigned>(args.heads);
  const unsigned parts = static_cast<unsigned>(ceilDiv(args.rows, kPart));
  launch(context, {.operation = "attentionCached", .grid = dim3(heads, parts), .block = dim3(kPart)},
         args.vectors ? attendPartKernel<T, true> : attendPartKernel<T, false>, args);
  launch(context, {.operation = "attentionCached", .grid = dim3(heads), .block = dim3(kPart)},
         mergePartsKernel<T>, args.parts, static_cast<int>(parts), args.dim, out);
}

}  // namespace

void attentionCached(Context& context, const AttentionCachedArgs& args) {
  const HeadShape& heads = args.heads;
  const DType type = args.qkv.dtype;
  const int64_t tokens = args.qkv.shape[0], dim = heads.headDim, group = heads.heads / heads.kvHeads;
  const bool vectors = wholeVectors(heads, args.qkv, args.keyCache, args.valueCache, args.out);
  const HeadRows keys = keyRows(args.qkv, heads), values = valueRows(args.qkv, heads);
  const HeadRows keyCache = headRows(args.keyCache, 0, dim), valueCache = headRows(args.valueCache, 0, dim);

  const auto append = [&]<typename Piece>(Piece) {
    const int64_t perPiece = static_cast<int64_t>(sizeof(Piece)) / sizeOf(type), pieces = dim / perPiece;
    const auto inPieces = [&](const HeadRows& rows, int64_t row) {
      void* data = static_cast<char*>(rows.data) + row * rows.rowStride * sizeOf(type);
      return HeadRows{data, rows.rowStride / perPiece, rows.headStride / perPiece};
    };
    launch(context,
           {.operation = "attentionCached",
            .grid = dim3(static_cast<unsigned>(ceilDiv(tokens * heads.kvHeads * pieces, 256))),
            .block = dim3(256)},
           appendKernel<Piece>, inPieces(keys, 0), inPieces(values, 0), inPieces(keyCache, args.start),
           inPieces(valueCache, args.start), tokens, static_cast<int>(heads.kvHeads),
           static_cast<int>(pieces));
  };
  if (vectors) {
    append(int4{});
  } else if (type == DType::bf16) {
    append(uint16_t{});
  } else {
    append(float{});
  }

  if (tokens > 1) {
    const int32_t old = static_cast<int32_t>(args.start), added = static_cast<int32_t>(tokens);
    std::vector<Span> segments;
    if (old > 0) segments.push_back({0, old, 0, -1});
    segments.push_back({old, added, old, static_cast<int32_t>(segments.size()) - 1});
    const ForwardArgs forward = {.queries = queryRows(args.qkv, heads),
                                 .keys = keyCache,
                                 .values = valueCache,
                                 .out = headRows(args.out, 0, dim),
                                 .logSumExp = nullptr,
                                 .firstQuery = old,
                                 .heads = static_cast<int32_t>(heads.heads),
                                 .group = static_cast<int32_t>(group),
                                 .dim = static_cast<int32_t>(dim),
                                 .window = windowOf(args.window),
                                 .vectors = vectors};
    attendForest(context, "attentionCached", type, forward, segments);
    return;
  }

  const int64_t end = args.start + 1, first = args.window > 0 && args.window < end ? end - args.window : 0;
  const auto from = [&](const HeadRows& rows) {
    void* data = static_cast<char*>(rows.data) + first * rows.rowStride * sizeOf(type);
    return HeadRows{data, rows.rowStride, rows.headStride};
  };
  const TokenArgs token = {.queries = queryRows(args.qkv, heads),
                           .keys = from(keyCache),
                           .values = from(valueCache),
                           .parts = context.scratchOf<float>(
                               ScratchSlot::reduction, heads.heads * ceilDiv(end - first, kPart) * (dim + 2)),
                           .rows = end - first,
                           .heads = static_cast<int32_t>(heads.heads),
                           .group = static_cast<int32_t>(group),
                           .dim = static_cast<int32_t>(dim),
                           .factor = kLog2E / std::sqrt(static_cast<float>(dim)),
                           .vectors = vectors};
  withTileType(type, dim, "attentionCached",
               [&]<typename T, int D>() { attendToken<T>(context, token, static_cast<T*>(args.out.data)); });
}

}  // namespace sralign::cuda
