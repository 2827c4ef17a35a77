// Packed attention over a forest of segments (backend.h), forward. Every (block of queries, key head) is a
// task of its own and reads its chain of keys from the root on; the blocks and their order do not depend on
// the number of threads.
#include <omp.h>

#include "attention_blocks.h"
#include "attention_forest.h"

namespace sralign::cpu::SRALIGN_ISA {

void attention(const AttentionArgs& args) {
  const Geometry g = geometryOf(args.heads, args.window);
  Arena tables{nullptr};
  Forest(tables, args.segments, g);
  tables = {static_cast<char*>(scratch(ScratchSlot::attentionForest, tables.used))};
  Forest forest(tables, args.segments, g);
  forest.fill(g);

  Arena own{nullptr};
  ForwardScratch(own, g, forest.longestChain);
  char* memory = scratchForThreads(own.used);
  const Matrix qkv = matrixOf(args.qkv), out = matrixOf(args.out);
  const int64_t tasks = forest.blockCount * g.heads.kvHeads;
#pragma omp parallel
  {
    Arena part{memory + own.used * static_cast<size_t>(omp_get_thread_num())};
    const ForwardScratch s(part, g, forest.longestChain);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < tasks; ++task) {
      const Forest::Block& block = forest.blocks[task / g.heads.kvHeads];
      const int64_t kvHead = task % g.heads.kvHeads;
      forest.fillChain(
          block.segment, [&](int64_t segment) { return forest.start(segment); }, s.chain);
      const KeyRows keys{qkv, qkv, g.heads.keyOffset(kvHead), g.heads.valueOffset(kvHead), s.chain};
      attendBlock(g, s, qkv, keys, forest.queries(block, kvHead), out, args.logSumExp.f32());
    }
  }
}

}  // namespace sralign::cpu::SRALIGN_ISA
