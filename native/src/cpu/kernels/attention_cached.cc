// Attention of new tokens against a cache of keys and values (backend.h): generation. Parallel over (block of
// queries, key head); a row of the cache is its own chain position.
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

}  // namespace

void attentionCached(const AttentionCachedArgs& args) {
  if (args.qkv.dtype == DType::bf16) {
    append(args, args.qkv.bf16(), args.keyCache.bf16(), args.valueCache.bf16());
  } else {
    append(args, args.qkv.f32(), args.keyCache.f32(), args.valueCache.f32());
  }

  const Geometry g = geometryOf(args.heads, args.window);
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

}  // namespace sralign::cpu::SRALIGN_ISA
