// The forward pass of attention over any chains of segments: packed batches (attention.cu), and new tokens
// over a cache (attention_cached.cu).
#pragma once

#include <vector>

#include "attention_forest.h"
#include "attention_tiles.cuh"
#include "context.h"

namespace sralign::cuda {

struct ForwardArgs {
  HeadRows queries, keys, values, out;
  float* logSumExp;    // [queries, heads]; null: not wanted
  int32_t firstQuery;  // the token of row 0 of queries, out and logSumExp, the first one of a segment
  int32_t heads, group, dim, window;
  bool vectors;  // wholeVectors of all tensors
};

// Writes `out` and `logSumExp` for every token of `segments` from `firstQuery` on. Queues its work.
void attendForest(Context& context, const char* operation, DType type, const ForwardArgs& args,
                  const std::vector<Span>& segments);

}  // namespace sralign::cuda
