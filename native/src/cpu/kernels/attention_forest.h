// The segments of a packed batch as a forest: chains from a root to a segment, blocks of queries, trees.
#pragma once

#include "attention_blocks.h"

namespace sralign::cpu::SRALIGN_ISA {

struct Forest {
  struct Block {
    int32_t segment, first, count;  // tokens [first, first+count) of the segment
  };

  const int32_t* segments;
  int64_t count;
  int32_t* positions;  // [S] chain position of a segment's first token
  Block* blocks;       // of queries, a segment's one after another
  int64_t blockCount = 0, longestChain = 0;

  Forest(Arena& arena, const TensorView& view, const Geometry& g)
      : segments(view.i32()), count(view.shape[0]), positions(arena.take<int32_t>(count)) {
    for (int64_t s = 0; s < count; ++s) blockCount += (length(s) + g.tokensPerBlock - 1) / g.tokensPerBlock;
    blocks = arena.take<Block>(blockCount);
  }

  void fill(const Geometry& g) {
    Block* block = blocks;
    for (int64_t s = 0; s < count; ++s) {
      positions[s] = parent(s) < 0 ? 0 : static_cast<int32_t>(positions[parent(s)] + length(parent(s)));
      longestChain = most(longestChain, positions[s] + length(s));
      for (int64_t first = 0; first < length(s); first += g.tokensPerBlock) {
        *block++ = {static_cast<int32_t>(s), static_cast<int32_t>(first),
                    static_cast<int32_t>(least(g.tokensPerBlock, length(s) - first))};
      }
    }
  }

  int64_t start(int64_t s) const { return segments[3 * s]; }
  int64_t length(int64_t s) const { return segments[3 * s + 1]; }
  int64_t parent(int64_t s) const { return segments[3 * s + 2]; }

  QueryBlock queries(const Block& block, int64_t kvHead) const {
    return {start(block.segment) + block.first, positions[block.segment] + block.first, block.count, kvHead};
  }

  // chain[c] = rowOf(segment) + offset of what sits at position c of the chain that ends in `segment`.
  template <typename RowOf>
  void fillChain(int64_t segment, RowOf&& rowOf, int32_t* chain) const {
    for (int64_t s = segment; s >= 0; s = parent(s)) {
      const int32_t row = static_cast<int32_t>(rowOf(s));
      int32_t* part = chain + positions[s];
      for (int32_t i = 0; i < static_cast<int32_t>(length(s)); ++i) part[i] = row + i;
    }
  }
};

}  // namespace sralign::cpu::SRALIGN_ISA
