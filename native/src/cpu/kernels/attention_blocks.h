// What the attention kernels share: how a block of query rows meets a block of keys.
//
// Shapes: D = headDim, Dp = D rounded up to whole vectors, R = query rows of a block, L = length of a chain.
//
// The heads that share one key head (a group) are computed together: a query row is one (token, head of the
// group), in the order token first. How rows and keys lie in memory: attention_tiles.h.
#pragma once

#include <omp.h>

#include "../scratch.h"
#include "attention_tiles.h"
#include "kernels_isa.h"

namespace sralign::cpu::SRALIGN_ISA {

constexpr int64_t kMostRows = 128;  // query rows of a block, unless one token's group is larger
constexpr int64_t kKeys = 96;       // keys of a block
constexpr float kLowest = -1e30f;   // below any score, and finite: a difference of two is no NaN

static inline int64_t roundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// ---- working memory ----

// Hands out consecutive, 64-byte aligned parts of one buffer. Without a buffer it only measures.
struct Arena {
  char* base;
  size_t used = 0;

  template <typename T>
  T* take(int64_t count) {
    char* part = base == nullptr ? nullptr : base + used;
    used += (static_cast<size_t>(count) * sizeof(T) + 63) & ~size_t{63};
    return reinterpret_cast<T*>(part);
  }
};

// `bytes` for each thread of the next parallel region, taken before it: running out of memory must not throw
// inside.
static inline char* scratchForThreads(size_t bytes) {
  return static_cast<char*>(
      scratch(ScratchSlot::attention, bytes * static_cast<size_t>(omp_get_max_threads())));
}

// ---- geometry ----

struct Geometry {
  HeadShape heads;
  int64_t group, dim, padded, window;
  int64_t tokensPerBlock, rowsPerBlock;  // of queries; rows rounded up to whole panels
  float scale;
};

static inline Geometry geometryOf(const HeadShape& heads, int64_t window) {
  Geometry g;
  g.heads = heads;
  g.group = heads.heads / heads.kvHeads;
  g.dim = heads.headDim;
  g.padded = roundUp(g.dim, kLanes);
  g.window = window;
  g.tokensPerBlock = most(1, kMostRows / g.group);
  g.rowsPerBlock = roundUp(g.tokensPerBlock * g.group, kPanel);
  g.scale = static_cast<float>(1 / __builtin_sqrt(static_cast<double>(g.dim)));
  return g;
}

// Where a token's head sits in a matrix, and how to read and write it as f32.
struct Matrix {
  void* data;
  DType dtype;
  int64_t width;
};
static inline Matrix matrixOf(const TensorView& view) { return {view.data, view.dtype, view.shape[1]}; }

static inline void readRow(const Matrix& from, int64_t row, int64_t column, int64_t count, float scale,
                           float* to) {
  const int64_t at = row * from.width + column;
  if (from.dtype == DType::bf16) {
    const uint16_t* source = static_cast<const uint16_t*>(from.data) + at;
    for (int64_t d = 0; d < count; ++d) to[d] = bf16ToF32(source[d]) * scale;
  } else {
    const float* source = static_cast<const float*>(from.data) + at;
    for (int64_t d = 0; d < count; ++d) to[d] = source[d] * scale;
  }
}
// Rows of a head lie far apart, often on pages of their own, where the processor does not look ahead by
// itself.
constexpr int64_t kRowsAhead = 6;
static inline void prefetchRow(const Matrix& from, int64_t row, int64_t column, int64_t count) {
  const int64_t size = from.dtype == DType::bf16 ? 2 : 4;
  const char* at = static_cast<const char*>(from.data) + (row * from.width + column) * size;
  for (int64_t byte = 0; byte < count * size; byte += 64) __builtin_prefetch(at + byte);
}
static inline void writeRow(const Matrix& to, int64_t row, int64_t column, int64_t count, const float* from) {
  const int64_t at = row * to.width + column;
  if (to.dtype == DType::bf16) {
    uint16_t* target = static_cast<uint16_t*>(to.data) + at;
    for (int64_t d = 0; d < count; ++d) target[d] = f32ToBf16(from[d]);
  } else {
    float* target = static_cast<float*>(to.data) + at;
    for (int64_t d = 0; d < count; ++d) target[d] = from[d];
  }
}

// ---- query rows ----

// `count` tokens from row `token` on, the first at chain position `position`, for the group of one key head.
struct QueryBlock {
  int64_t token, position, count, kvHead;
};

static inline int64_t rowCount(const Geometry& g, const QueryBlock& block) { return block.count * g.group; }
static inline int64_t panelCount(int64_t rows) { return (rows + kPanel - 1) / kPanel; }
// Lanes in use in a panel, in whole vectors: the last panel may need one only.
static inline int vectorsOf(int64_t rows, int64_t panel) { return rows - panel * kPanel > kLanes ? 2 : 1; }

// A matrix of query rows [R, Dp] in f32, times `scale`; 0 beyond D and in the rows that fill the last panel.
// With `perHead` each head has D columns from head * D on (attention outputs), else columns of qkv.
static inline void readRows(const Geometry& g, const QueryBlock& block, const Matrix& from, bool perHead,
                            float scale, float* rows) {
  float* row = rows;
  for (int64_t t = 0; t < block.count; ++t) {
    for (int64_t i = 0; i < g.group; ++i, row += g.padded) {
      const int64_t head = block.kvHead * g.group + i,
                    column = perHead ? head * g.dim : g.heads.queryOffset(head);
      if (t + kRowsAhead < block.count) prefetchRow(from, block.token + t + kRowsAhead, column, g.dim);
      readRow(from, block.token + t, column, g.dim, scale, row);
      for (int64_t d = g.dim; d < g.padded; ++d) row[d] = 0;
    }
  }
  float* end = rows + panelCount(rowCount(g, block)) * kPanel * g.padded;
  __builtin_memset(row, 0, static_cast<size_t>(end - row) * sizeof(float));
}
static inline void writeRows(const Geometry& g, const QueryBlock& block, const float* rows, bool perHead,
                             const Matrix& to) {
  const float* row = rows;
  for (int64_t t = 0; t < block.count; ++t) {
    for (int64_t i = 0; i < g.group; ++i, row += g.padded) {
      const int64_t head = block.kvHead * g.group + i;
      writeRow(to, block.token + t, perHead ? head * g.dim : g.heads.queryOffset(head), g.dim, row);
    }
  }
}

// Chain positions of the rows; the rows that fill the last panel repeat the last one.
static inline void fillPositions(const Geometry& g, const QueryBlock& block, int32_t* positions) {
  const int64_t rows = rowCount(g, block), all = panelCount(rows) * kPanel;
  for (int64_t t = 0, r = 0; t < block.count; ++t) {
    for (int64_t i = 0; i < g.group; ++i, ++r) positions[r] = static_cast<int32_t>(block.position + t);
  }
  for (int64_t r = rows; r < all; ++r) positions[r] = static_cast<int32_t>(block.position + block.count - 1);
}

// ---- what a panel sees ----

// The keys [first, end) of a block starting at chain position `start` that some row of the panel sees.
struct Visible {
  int64_t first, end;
};
static inline Visible visibleTo(const Geometry& g, const int32_t* positions, int64_t start, int64_t keys) {
  const int64_t lowest = positions[0], highest = positions[kPanel - 1];
  Visible v;
  v.first = g.window > 0 ? most(0, lowest - g.window + 1 - start) : 0;
  v.end = least(keys, highest + 1 - start);
  return v;
}

// Sets the scores [keys][kPanel] that a row does not see to -inf; row 0 is the key at chain position `start`.
template <int N>
static inline void maskScores(const Geometry& g, const int32_t* positions, int64_t start, int64_t keys,
                              float* scores) {
  const int64_t lowest = positions[0], highest = positions[kPanel - 1];
  for (int64_t j = 0; j < keys; ++j) {
    const int64_t at = start + j;
    if (at <= lowest && (g.window == 0 || at > highest - g.window)) continue;  // every row sees it
    const int32_t key = static_cast<int32_t>(at);
    for (int n = 0; n < N; ++n) {
      Vi position;
      __builtin_memcpy(&position, positions + n * kLanes, sizeof position);
      Vi seen = position >= key;
      if (g.window > 0) seen &= position - key < static_cast<int32_t>(least(g.window, INT32_MAX));
      float* score = scores + j * kPanel + n * kLanes;
      store(score, seen ? load(score) : splat(-__builtin_inff()));
    }
  }
}

// The first chain position that some row of the block sees.
static inline int64_t firstVisible(const Geometry& g, const QueryBlock& block) {
  return g.window > 0 ? most(0, block.position - g.window + 1) : 0;
}

// ---- the forward pass of one block ----

// Keys and values by row: row chain[c] holds what sits at chain position c.
struct KeyRows {
  Matrix keys, values;
  int64_t keyColumn, valueColumn;
  const int32_t* chain;
};

static inline void readKeys(const Geometry& g, const KeyRows& from, int64_t start, int64_t count, float* keys,
                            float* values) {
  for (int64_t j = 0; j < count; ++j) {
    if (j + kRowsAhead < count) {
      const int64_t ahead = from.chain[start + j + kRowsAhead];
      prefetchRow(from.keys, ahead, from.keyColumn, g.dim);
      prefetchRow(from.values, ahead, from.valueColumn, g.dim);
    }
    const int64_t row = from.chain[start + j];
    readRow(from.keys, row, from.keyColumn, g.dim, 1.0f, keys + j * g.padded);
    readRow(from.values, row, from.valueColumn, g.dim, 1.0f, values + j * g.padded);
  }
}

struct ForwardScratch {
  float *rows, *queries, *outputs, *scores, *keys, *values, *highest, *total;
  int32_t *positions, *chain;

  ForwardScratch(Arena& arena, const Geometry& g, int64_t longestChain) {
    rows = arena.take<float>(g.rowsPerBlock * g.padded);
    queries = arena.take<float>(g.rowsPerBlock * g.padded);
    outputs = arena.take<float>(g.rowsPerBlock * g.padded);
    scores = arena.take<float>(kKeys * kPanel);
    keys = arena.take<float>(kKeys * g.padded);
    values = arena.take<float>(kKeys * g.padded);
    highest = arena.take<float>(g.rowsPerBlock);
    total = arena.take<float>(g.rowsPerBlock);
    positions = arena.take<int32_t>(g.rowsPerBlock);
    chain = arena.take<int32_t>(longestChain);
  }
};

// One panel against one block of keys: online softmax. `highest` and `total` are the running maximum and sum
// of exponentials of each row; what was summed before is corrected when the maximum grows.
template <int N>
static inline void attendPanel(const Geometry& g, const ForwardScratch& s, int64_t panel, int64_t start,
                               Visible seen) {
  const int64_t keys = seen.end - seen.first, row = panel * kPanel;
  timesPanel<N>(g.dim, g.padded, s.keys + seen.first * g.padded, keys, s.queries + row * g.padded, s.scores);
  maskScores<N>(g, s.positions + row, start + seen.first, keys, s.scores);
  Vf highest[N], correction[N], total[N];
  for (int n = 0; n < N; ++n) highest[n] = load(s.highest + row + n * kLanes);
  for (int64_t j = 0; j < keys; ++j) {
    for (int n = 0; n < N; ++n) highest[n] = max(highest[n], load(s.scores + j * kPanel + n * kLanes));
  }
  for (int n = 0; n < N; ++n) {
    correction[n] = exp(load(s.highest + row + n * kLanes) - highest[n]);
    total[n] = load(s.total + row + n * kLanes) * correction[n];
  }
  for (int64_t j = 0; j < keys; ++j) {
    for (int n = 0; n < N; ++n) {
      float* score = s.scores + j * kPanel + n * kLanes;
      const Vf weight = exp(load(score) - highest[n]);
      store(score, weight);
      total[n] += weight;
    }
  }
  for (int n = 0; n < N; ++n) {
    store(s.highest + row + n * kLanes, highest[n]);
    store(s.total + row + n * kLanes, total[n]);
  }
  addTransposed<N>(g.dim, g.padded, s.values + seen.first * g.padded, keys, s.scores, correction,
                   s.outputs + row * g.padded);
}

// Attention of a block of queries; logSumExp [*, heads] may be null.
static inline void attendBlock(const Geometry& g, const ForwardScratch& s, const Matrix& qkv,
                               const KeyRows& from, const QueryBlock& block, const Matrix& out,
                               float* logSumExp) {
  const int64_t rows = rowCount(g, block), panels = panelCount(rows);
  readRows(g, block, qkv, false, g.scale, s.rows);
  rowsToPanels(s.rows, panels, g.padded, s.queries);
  fillPositions(g, block, s.positions);
  __builtin_memset(s.outputs, 0, static_cast<size_t>(panels * kPanel * g.padded) * sizeof(float));
  for (int64_t r = 0; r < panels * kPanel; ++r) {
    s.highest[r] = kLowest;
    s.total[r] = 0;
  }
  const int64_t end = block.position + block.count;
  for (int64_t start = firstVisible(g, block); start < end; start += kKeys) {
    const int64_t keys = least(kKeys, end - start);
    readKeys(g, from, start, keys, s.keys, s.values);
    for (int64_t panel = 0; panel < panels; ++panel) {
      const Visible seen = visibleTo(g, s.positions + panel * kPanel, start, keys);
      if (seen.first >= seen.end) continue;
      if (vectorsOf(rows, panel) == 2) {
        attendPanel<2>(g, s, panel, start, seen);
      } else {
        attendPanel<1>(g, s, panel, start, seen);
      }
    }
  }
  for (int64_t panel = 0; panel < panels; ++panel) {
    for (int n = 0; n < 2; ++n) {
      const Vf inverse = 1.0f / load(s.total + panel * kPanel + n * kLanes);
      float* output = s.outputs + panel * kPanel * g.padded + n * kLanes;
      for (int64_t d = 0; d < g.dim; ++d) store(output + d * kPanel, load(output + d * kPanel) * inverse);
    }
  }
  panelsToRows(s.outputs, panels, g.padded, s.rows);
  writeRows(g, block, s.rows, true, out);
  if (logSumExp == nullptr) return;
  for (int64_t t = 0, r = 0; t < block.count; ++t) {
    float* target = logSumExp + (block.token + t) * g.heads.heads + block.kvHead * g.group;
    for (int64_t i = 0; i < g.group; ++i, ++r) target[i] = s.highest[r] + __builtin_logf(s.total[r]);
  }
}

}  // namespace sralign::cpu::SRALIGN_ISA
