// Packed attention, backward. With S = scale Q K^T (masked), P = exp(S - logSumExp), O = P V:
//   dV = P^T dO;  dP = dO V^T;  dS = P (dP - D), D = rowsum(dO O);  dQ = scale dS K;  dK = scale dS^T Q
// P is computed again block by block. A task is one (tree of segments, key head): it alone touches the keys
// and values of its tree, so their gradients are summed in f32, in one order, without atomics; a gradient of
// a query row is complete within its block. Everything in dQkv is overwritten. Memory is linear in the tokens
// of a tree.
#include <omp.h>

#include "attention_blocks.h"
#include "attention_forest.h"

namespace sralign::cpu::SRALIGN_ISA {

namespace {

// The segments of each tree, in order.
struct Trees {
  int32_t* first;       // [trees] first segment
  int32_t* next;        // [S] next segment of the same tree; -1: last
  int32_t* root;        // [S] tree of a segment
  int32_t* last;        // [trees]
  int32_t* tokens;      // [trees] tokens of a tree
  int32_t* localStart;  // [S] tokens of the tree before the segment
  int64_t count = 0, longest = 0;

  Trees(Arena& arena, int64_t segments)
      : first(arena.take<int32_t>(segments)),
        next(arena.take<int32_t>(segments)),
        root(arena.take<int32_t>(segments)),
        last(arena.take<int32_t>(segments)),
        tokens(arena.take<int32_t>(segments)),
        localStart(arena.take<int32_t>(segments)) {}

  void fill(const Forest& forest) {
    for (int64_t s = 0; s < forest.count; ++s) {
      const int32_t segment = static_cast<int32_t>(s);
      next[s] = -1;
      if (forest.parent(s) < 0) {
        root[s] = static_cast<int32_t>(count++);
        first[root[s]] = segment;
        tokens[root[s]] = 0;
      } else {
        root[s] = root[forest.parent(s)];
        next[last[root[s]]] = segment;
      }
      const int32_t tree = root[s];
      last[tree] = segment;
      localStart[s] = tokens[tree];
      tokens[tree] += static_cast<int32_t>(forest.length(s));
      longest = most(longest, tokens[tree]);
    }
  }
};

struct BackwardScratch {
  float *rows, *queryRows, *dOutRows, *queries, *dOuts, *dQueries;  // [R, Dp], or panels of it
  float *logSumExp, *delta;                                         // [R]
  float *weights, *dScores;                                         // [panels][kKeys][kPanel]: P and dS
  float *keys, *values;                                             // [kKeys, Dp]
  float *dKeys, *dValues;                                           // [tokens of the tree, Dp]
  int32_t *positions, *chain, *local;
  Visible* seen;  // [panels]

  BackwardScratch(Arena& arena, const Geometry& g, int64_t tokens) {
    for (float** part : {&rows, &queryRows, &dOutRows, &queries, &dOuts, &dQueries}) {
      *part = arena.take<float>(g.rowsPerBlock * g.padded);
    }
    logSumExp = arena.take<float>(g.rowsPerBlock);
    delta = arena.take<float>(g.rowsPerBlock);
    weights = arena.take<float>(g.rowsPerBlock * kKeys);
    dScores = arena.take<float>(g.rowsPerBlock * kKeys);
    keys = arena.take<float>(kKeys * g.padded);
    values = arena.take<float>(kKeys * g.padded);
    dKeys = arena.take<float>(tokens * g.padded);
    dValues = arena.take<float>(tokens * g.padded);
    positions = arena.take<int32_t>(g.rowsPerBlock);
    chain = arena.take<int32_t>(tokens);
    local = arena.take<int32_t>(tokens);
    seen = arena.take<Visible>(g.rowsPerBlock / kPanel);
  }
};

// P, dP, dS and this block's part of dQ for one panel. Keys of the block that the panel does not see get
// zeros.
template <int N>
void panelGradients(const Geometry& g, const BackwardScratch& s, int64_t panel, int64_t start, int64_t keys) {
  const Visible seen = s.seen[panel];
  const int64_t row = panel * kPanel, count = seen.end - seen.first;
  float* weights = s.weights + panel * kKeys * kPanel;
  float* dScores = s.dScores + panel * kKeys * kPanel;
  for (float* all : {weights, dScores}) {
    __builtin_memset(all, 0, static_cast<size_t>(seen.first * kPanel) * sizeof(float));
    __builtin_memset(all + seen.end * kPanel, 0,
                     static_cast<size_t>((keys - seen.end) * kPanel) * sizeof(float));
  }
  weights += seen.first * kPanel;
  dScores += seen.first * kPanel;
  timesPanel<N>(g.dim, g.padded, s.keys + seen.first * g.padded, count, s.queries + row * g.padded, weights);
  timesPanel<N>(g.dim, g.padded, s.values + seen.first * g.padded, count, s.dOuts + row * g.padded, dScores);
  maskScores<N>(g, s.positions + row, start + seen.first, count, weights);
  Vf logSumExp[N], delta[N], one[N];
  for (int n = 0; n < N; ++n) {
    logSumExp[n] = load(s.logSumExp + row + n * kLanes);
    delta[n] = load(s.delta + row + n * kLanes);
    one[n] = splat(1.0f);
  }
  for (int64_t j = 0; j < count; ++j) {
    for (int n = 0; n < N; ++n) {
      const int64_t at = j * kPanel + n * kLanes;
      const Vf weight = exp(load(weights + at) - logSumExp[n]);
      store(weights + at, weight);
      store(dScores + at, weight * (load(dScores + at) - delta[n]));
    }
  }
  addTransposed<N>(g.dim, g.padded, s.keys + seen.first * g.padded, count, dScores, one,
                   s.dQueries + row * g.padded);
}

// sums [keys, Dp] at rows local[j] += weights^T rows, over all panels: dV from P and dO, dK from dS and Q.
template <int N>
void addKeyGradients(const Geometry& g, const BackwardScratch& s, int64_t rows, int64_t keys,
                     const float* weights, const float* right, int64_t column, const int32_t* local,
                     float* sums) {
  const int64_t panels = panelCount(rows);
  forEachTile<N>(keys, [&]<int M>(int64_t j) {
    Vf tile[M][N] = {};
    for (int64_t panel = 0; panel < panels; ++panel) {
      if (j >= s.seen[panel].end || j + M <= s.seen[panel].first) continue;
      multiply<M, N>(weights + (panel * kKeys + j) * kPanel, kPanel, 1,
                     right + panel * kPanel * g.padded + column, g.padded, vectorsOf(rows, panel) * kLanes,
                     tile);
    }
#pragma GCC unroll 24
    for (int i = 0; i < M; ++i) {
      float* target = sums + local[j + i] * g.padded + column;
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) store(target + n * kLanes, load(target + n * kLanes) + tile[i][n]);
    }
  });
}

void addKeyGradients(const Geometry& g, const BackwardScratch& s, int64_t rows, int64_t keys,
                     const float* weights, const float* right, const int32_t* local, float* sums) {
  int64_t column = 0;
  for (; column + 2 * kLanes <= g.padded; column += 2 * kLanes) {
    addKeyGradients<2>(g, s, rows, keys, weights, right, column, local, sums);
  }
  if (column < g.padded) addKeyGradients<1>(g, s, rows, keys, weights, right, column, local, sums);
}

// Everything of a block that does not depend on the keys.
void readBlock(const AttentionBackwardArgs& args, const Geometry& g, const BackwardScratch& s,
               const QueryBlock& block) {
  const int64_t rows = rowCount(g, block), panels = panelCount(rows);
  readRows(g, block, matrixOf(args.out), true, 1.0f, s.rows);
  readRows(g, block, matrixOf(args.dOut), true, 1.0f, s.dOutRows);
  for (int64_t r = 0; r < panels * kPanel; ++r) {
    Vf products{};
    for (int64_t d = 0; d < g.padded; d += kLanes) {
      products += load(s.rows + r * g.padded + d) * load(s.dOutRows + r * g.padded + d);
    }
    s.delta[r] = sum(products);
    const int64_t token = block.token + r / g.group, head = block.kvHead * g.group + r % g.group;
    s.logSumExp[r] = r < rows ? args.logSumExp.f32()[token * g.heads.heads + head] : 0;
  }
  readRows(g, block, matrixOf(args.qkv), false, g.scale, s.queryRows);
  rowsToPanels(s.queryRows, panels, g.padded, s.queries);
  rowsToPanels(s.dOutRows, panels, g.padded, s.dOuts);
  fillPositions(g, block, s.positions);
  __builtin_memset(s.dQueries, 0, static_cast<size_t>(panels * kPanel * g.padded) * sizeof(float));
}

void blockGradients(const AttentionBackwardArgs& args, const Geometry& g, const BackwardScratch& s,
                    const QueryBlock& block) {
  readBlock(args, g, s, block);
  const Matrix qkv = matrixOf(args.qkv);
  const KeyRows from{qkv, qkv, g.heads.keyOffset(block.kvHead), g.heads.valueOffset(block.kvHead), s.chain};
  const int64_t rows = rowCount(g, block), panels = panelCount(rows), end = block.position + block.count;
  for (int64_t start = firstVisible(g, block); start < end; start += kKeys) {
    const int64_t keys = least(kKeys, end - start);
    readKeys(g, from, start, keys, s.keys, s.values);
    for (int64_t panel = 0; panel < panels; ++panel) {
      Visible& seen = s.seen[panel];
      seen = visibleTo(g, s.positions + panel * kPanel, start, keys);
      if (seen.first >= seen.end) {
        seen = {0, 0};
      } else if (vectorsOf(rows, panel) == 2) {
        panelGradients<2>(g, s, panel, start, keys);
      } else {
        panelGradients<1>(g, s, panel, start, keys);
      }
    }
    addKeyGradients(g, s, rows, keys, s.weights, s.dOutRows, s.local + start, s.dValues);
    addKeyGradients(g, s, rows, keys, s.dScores, s.queryRows, s.local + start, s.dKeys);
  }
  for (int64_t i = 0; i < panels * kPanel * g.padded; i += kLanes) {
    store(s.dQueries + i, load(s.dQueries + i) * g.scale);
  }
  panelsToRows(s.dQueries, panels, g.padded, s.rows);
  writeRows(g, block, s.rows, false, matrixOf(args.dQkv));
}

}  // namespace

void attentionBackward(const AttentionBackwardArgs& args) {
  const Geometry g = geometryOf(args.heads, args.window);
  Arena tables{nullptr};
  Forest(tables, args.segments, g);
  Trees(tables, args.segments.shape[0]);
  tables = {static_cast<char*>(scratch(ScratchSlot::attentionForest, tables.used))};
  Forest forest(tables, args.segments, g);
  forest.fill(g);
  Trees trees(tables, forest.count);
  trees.fill(forest);

  Arena own{nullptr};
  BackwardScratch(own, g, trees.longest);
  char* memory = scratchForThreads(own.used);
  const Matrix dQkv = matrixOf(args.dQkv);
#pragma omp parallel
  {
    Arena part{memory + own.used * static_cast<size_t>(omp_get_thread_num())};
    const BackwardScratch s(part, g, trees.longest);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < trees.count * g.heads.kvHeads; ++task) {
      const int64_t tree = task / g.heads.kvHeads, kvHead = task % g.heads.kvHeads;
      const size_t bytes = static_cast<size_t>(trees.tokens[tree] * g.padded) * sizeof(float);
      __builtin_memset(s.dKeys, 0, bytes);
      __builtin_memset(s.dValues, 0, bytes);
      for (int64_t segment = trees.first[tree]; segment >= 0; segment = trees.next[segment]) {
        forest.fillChain(
            segment, [&](int64_t at) { return forest.start(at); }, s.chain);
        forest.fillChain(
            segment, [&](int64_t at) { return trees.localStart[at]; }, s.local);
        for (int64_t first = 0; first < forest.length(segment); first += g.tokensPerBlock) {
          const int64_t count = least(g.tokensPerBlock, forest.length(segment) - first);
          blockGradients(args, g, s,
                         {forest.start(segment) + first, forest.positions[segment] + first, count, kvHead});
        }
      }
      for (int64_t segment = trees.first[tree]; segment >= 0; segment = trees.next[segment]) {
        for (int64_t i = 0; i < forest.length(segment); ++i) {
          const int64_t row = forest.start(segment) + i, local = (trees.localStart[segment] + i) * g.padded;
          writeRow(dQkv, row, g.heads.keyOffset(kvHead), g.dim, s.dKeys + local);
          writeRow(dQkv, row, g.heads.valueOffset(kvHead), g.dim, s.dValues + local);
        }
      }
    }
  }
}

}  // namespace sralign::cpu::SRALIGN_ISA
