// Attention of new tokens against a cache of keys and values (backend.h): generation. A row of the cache is
// its own chain position. A prompt goes through blocks of queries like the packed forward pass. A single
// token leaves most lanes of a block empty, so it has a pass of its own that runs along the keys as they lie
// in the cache:
//   s_j = scale q k_j;  p = softmax(s);  out = sum_j p_j v_j
// f32 arithmetic throughout.
#include <omp.h>

#include "attention_blocks.h"

namespace sralign::cpu::SRALIGN_ISA {

namespace {

// Copies the key or value heads of the new tokens, whatever their layout in qkv, to rows [start, start+T) of
// the cache.
template <typename T>
void append(const AttentionCachedArgs& args, const T* qkv, T* keyCache, T* valueCache) {
  const HeadShape& heads = args.heads;
  const int64_t tokens = args.qkv.shape[0], width = args.qkv.shape[1], cacheWidth = args.keyCache.shape[1];
  const size_t bytes = static_cast<size_t>(heads.headDim) * sizeof(T);
  for (int64_t t = 0; t < tokens; ++t) {
    const T* row = qkv + t * width;
    const int64_t target = (args.start + t) * cacheWidth;
    for (int64_t h = 0; h < heads.kvHeads; ++h) {
      __builtin_memcpy(keyCache + target + h * heads.headDim, row + heads.keyOffset(h), bytes);
      __builtin_memcpy(valueCache + target + h * heads.headDim, row + heads.valueOffset(h), bytes);
    }
  }
}

void attendBlocks(const AttentionCachedArgs& args, const Geometry& g) {
  const int64_t tokens = args.qkv.shape[0], rows = args.start + tokens;
  int32_t* chain = static_cast<int32_t*>(
      scratch(ScratchSlot::attentionForest, static_cast<size_t>(rows) * sizeof(int32_t)));
  for (int32_t i = 0; i < static_cast<int32_t>(rows); ++i) chain[i] = i;
  Arena own{nullptr};
  ForwardScratch(own, g, 0);
  char* memory = scratchForThreads(own.used);
  const Matrix qkv = matrixOf(args.qkv), out = matrixOf(args.out);
  const Matrix keyCache = matrixOf(args.keyCache), valueCache = matrixOf(args.valueCache);
  const int64_t blocks = (tokens + g.tokensPerBlock - 1) / g.tokensPerBlock;
#pragma omp parallel
  {
    Arena part{memory + own.used * static_cast<size_t>(omp_get_thread_num())};
    const ForwardScratch s(part, g, 0);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < blocks * g.heads.kvHeads; ++task) {
      const int64_t first = task / g.heads.kvHeads * g.tokensPerBlock, kvHead = task % g.heads.kvHeads;
      const QueryBlock block{first, args.start + first, least(g.tokensPerBlock, tokens - first), kvHead};
      const KeyRows keys{keyCache, valueCache, kvHead * g.dim, kvHead * g.dim, chain};
      attendBlock(g, s, qkv, keys, block, out, nullptr);
    }
  }
}

// scores[j] = query . keys[j] for the keys [0, count), `stride` apart; query [Dp] is 0 beyond D.
template <typename T>
void scoreKeys(const float* query, const T* keys, int64_t stride, int64_t dim, int64_t count, float* scores) {
  constexpr int kStreams = 4;
  const int64_t whole = dim / kLanes * kLanes;
  const auto score = [&]<int N>(int64_t j) {
    Vf products[N] = {};
    for (int64_t d = 0; d < whole; d += kLanes) {
      for (int n = 0; n < N; ++n) products[n] += load(query + d) * load(keys + (j + n) * stride + d);
    }
    if (whole < dim) {
      for (int n = 0; n < N; ++n) {
        products[n] += load(query + whole) * loadPartial(keys + (j + n) * stride + whole, dim - whole, 0);
      }
    }
    for (int n = 0; n < N; ++n) scores[j + n] = sum(products[n]);
  };
  int64_t j = 0;
  for (; j + kStreams <= count; j += kStreams) score.template operator()<kStreams>(j);
  for (; j < count; ++j) score.template operator()<1>(j);
}

// scores [count] -> softmax
void normalise(float* scores, int64_t count) {
  const int64_t whole = count / kLanes * kLanes;
  const Vf rest = loadPartial(scores + whole, count - whole, -__builtin_inff());
  Vf highest = rest;
  for (int64_t j = 0; j < whole; j += kLanes) highest = max(highest, load(scores + j));
  const float shift = largest(highest);
  const Vf last = exp(rest - shift);
  Vf total = last;
  for (int64_t j = 0; j < whole; j += kLanes) {
    const Vf weight = exp(load(scores + j) - shift);
    store(scores + j, weight);
    total += weight;
  }
  const float factor = 1 / sum(total);
  for (int64_t j = 0; j < whole; j += kLanes) store(scores + j, load(scores + j) * factor);
  storePartial(scores + whole, last * factor, count - whole);
}

// sums [D] += sum_j weights[j] values[j]
template <typename T>
void addValues(const float* weights, const T* values, int64_t stride, int64_t dim, int64_t count,
               float* sums) {
  constexpr int kWide = 8;
  const auto columns = [&]<int N>(int64_t d) {
    Vf lanes[N];
    for (int n = 0; n < N; ++n) lanes[n] = load(sums + d + n * kLanes);
    for (int64_t j = 0; j < count; ++j) {
      for (int n = 0; n < N; ++n) lanes[n] += weights[j] * load(values + j * stride + d + n * kLanes);
    }
    for (int n = 0; n < N; ++n) store(sums + d + n * kLanes, lanes[n]);
  };
  int64_t d = 0;
  for (; d + kWide * kLanes <= dim; d += kWide * kLanes) columns.template operator()<kWide>(d);
  for (; d + kLanes <= dim; d += kLanes) columns.template operator()<1>(d);
  if (d == dim) return;
  Vf lanes = load(sums + d);
  for (int64_t j = 0; j < count; ++j) lanes += weights[j] * loadPartial(values + j * stride + d, dim - d, 0);
  store(sums + d, lanes);
}

// A thread takes neighbouring heads and goes through the cache in blocks of rows, all its heads in a block
// before the next: rows are wide, and their pages should be visited once.
template <typename T>
void attendToken(const AttentionCachedArgs& args, const Geometry& g, const T* keyCache, const T* valueCache) {
  constexpr int64_t kRows = 16, kWorthThreads = 100'000;
  const int64_t heads = g.heads.heads, stride = args.keyCache.shape[1], rows = args.start + 1;
  const int64_t first = g.window > 0 ? most(0, rows - g.window) : 0, count = rows - first;
  const int64_t scoreWidth = roundUp(count, kLanes);
  Arena arena{nullptr};
  const auto take = [&](float*& queries, float*& sums, float*& scores) {
    queries = arena.take<float>(heads * g.padded);
    sums = arena.take<float>(heads * g.padded);
    scores = arena.take<float>(heads * scoreWidth);
  };
  float *queries, *sums, *scores;
  take(queries, sums, scores);
  arena = {static_cast<char*>(scratch(ScratchSlot::attention, arena.used))};
  take(queries, sums, scores);
  __builtin_memset(queries, 0, static_cast<size_t>(heads * g.padded) * sizeof(float));
  __builtin_memset(sums, 0, static_cast<size_t>(heads * g.padded) * sizeof(float));

  const Matrix qkv = matrixOf(args.qkv);
  const int64_t shares = least(heads, omp_get_max_threads());
#pragma omp parallel for schedule(static) if (2 * count * heads * g.dim > kWorthThreads)
  for (int64_t share = 0; share < shares; ++share) {
    const int64_t from = heads * share / shares, to = heads * (share + 1) / shares;
    for (int64_t h = from; h < to; ++h) {
      readRow(qkv, 0, g.heads.queryOffset(h), g.dim, g.scale, queries + h * g.padded);
    }
    for (int64_t j = 0; j < count; j += kRows) {
      for (int64_t h = from; h < to; ++h) {
        const T* keys = keyCache + (first + j) * stride + h / g.group * g.dim;
        scoreKeys(queries + h * g.padded, keys, stride, g.dim, least(kRows, count - j),
                  scores + h * scoreWidth + j);
      }
    }
    for (int64_t h = from; h < to; ++h) normalise(scores + h * scoreWidth, count);
    for (int64_t j = 0; j < count; j += kRows) {
      for (int64_t h = from; h < to; ++h) {
        const T* values = valueCache + (first + j) * stride + h / g.group * g.dim;
        addValues(scores + h * scoreWidth + j, values, stride, g.dim, least(kRows, count - j),
                  sums + h * g.padded);
      }
    }
    for (int64_t h = from; h < to; ++h)
      writeRow(matrixOf(args.out), 0, h * g.dim, g.dim, sums + h * g.padded);
  }
}

template <typename T>
void attend(const AttentionCachedArgs& args, const T* qkv, T* keyCache, T* valueCache) {
  append(args, qkv, keyCache, valueCache);
  const Geometry g = geometryOf(args.heads, args.window);
  if (args.qkv.shape[0] == 1) {
    attendToken<T>(args, g, keyCache, valueCache);
  } else {
    attendBlocks(args, g);
  }
}

}  // namespace

void attentionCached(const AttentionCachedArgs& args) {
  if (args.qkv.dtype == DType::bf16) {
    attend(args, args.qkv.bf16(), args.keyCache.bf16(), args.valueCache.bf16());
  } else {
    attend(args, args.qkv.f32(), args.keyCache.f32(), args.valueCache.f32());
  }
}

}  // namespace sralign::cpu::SRALIGN_ISA
