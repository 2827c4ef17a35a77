// Rows of the embedding table [V, H], and the gradient that flows back into them.
//   forward:   out[t] = table[tokens[t]]
//   backward:  dTable[v] += sum of dOut[t] over the t with tokens[t] = v
//
// The backward needs the tokens in order: the host sorts their positions and cuts those of one token into
// pieces of at most kPieceRows rows, because a few tokens make up much of a text. A piece that is all of its
// token is added to the table at once; the sums of the other pieces go to scratch memory, from where a second
// launch adds them up in order. No two blocks write to one place, so the result has the same bits in every
// run.
//
// Launch: a thread per group of 4 columns (or 1 where rows are not aligned to that), blocks by rows.cuh over
// the T rows of the output, the pieces, and the tokens of several pieces. No shared memory.
//
// Bytes, table elements of size E: forward T H (E + 4); backward 4 T H + 8 U H for U distinct tokens, and 8 H
// for each of the other pieces. FLOPs: backward T H.
#include "ops.h"
#include "rows.cuh"

namespace sralign::cuda {

namespace {

constexpr int kPieceRows = 32;

// A sum of `count` rows: at the positions from number `first` on, or, of partial sums, from row `first` on.
struct RowSum {
  int32_t first, count;
  int32_t token;  // row of dTable
  int32_t slot;   // row of the partial sums that receives it instead; -1: none
};

struct TokenOrder {
  // Positions, padded to whole RowSums, then the pieces, then the sums of partial sums.
  std::vector<int32_t> list;
  int64_t positions = 0, pieces = 0, sums = 0;
  int64_t partialSums = 0;

  void append(const std::vector<RowSum>& more) {
    for (const RowSum& sum : more) list.insert(list.end(), {sum.first, sum.count, sum.token, sum.slot});
  }
};

// Sorts by counting: positions of a token stay in order.
TokenOrder orderTokens(const int32_t* tokens, int64_t count, int64_t vocabulary) {
  constexpr int64_t kInts = sizeof(RowSum) / sizeof(int32_t);
  std::vector<int32_t> counts(static_cast<size_t>(vocabulary)), next(static_cast<size_t>(vocabulary));
  for (int64_t t = 0; t < count; ++t) ++counts[tokens[t]];
  std::vector<RowSum> pieces, sums;
  int32_t first = 0, slots = 0;
  for (int64_t v = 0; v < vocabulary; ++v) {
    const int32_t rows = counts[v], token = static_cast<int32_t>(v);
    if (rows > kPieceRows) {
      const auto split = static_cast<int32_t>(ceilDiv(rows, kPieceRows));
      sums.push_back({slots, split, token, -1});
      for (int32_t i = 0; i < split; ++i) {
        const int32_t start = i * kPieceRows;
        pieces.push_back({first + start, std::min(kPieceRows, rows - start), token, slots++});
      }
    } else if (rows > 0) {
      pieces.push_back({first, rows, token, -1});
    }
    next[v] = first;  // where the next position of the token goes
    first += rows;
  }
  TokenOrder order;
  order.positions = ceilDiv(count, kInts) * kInts;
  order.pieces = static_cast<int64_t>(pieces.size());
  order.sums = static_cast<int64_t>(sums.size());
  order.partialSums = slots;
  order.list.resize(static_cast<size_t>(order.positions));
  for (int64_t t = 0; t < count; ++t) order.list[next[tokens[t]]++] = static_cast<int32_t>(t);
  order.append(pieces);
  order.append(sums);
  return order;
}

template <int kGroup, typename T>
__global__ void __launch_bounds__(kRowThreads)
    embeddingKernel(const int32_t* __restrict__ tokens, const T* __restrict__ table, unsigned stretches,
                    int64_t width, float* __restrict__ out) {
  const RowPlace place = rowPlace<kGroup>(stretches);
  if (place.column >= width) return;
  float values[kGroup];
  loadGroup(table + tokens[place.row] * width + place.column, values);
  storeGroup(out + place.row * width + place.column, values);
}

// positions null: the rows themselves follow each other.
template <int kGroup>
__global__ void __launch_bounds__(kRowThreads)
    rowSumKernel(const RowSum* __restrict__ sums, const int32_t* __restrict__ positions,
                 const float* __restrict__ rows, unsigned stretches, int64_t width,
                 float* __restrict__ dTable, float* __restrict__ partialSums) {
  const RowPlace place = rowPlace<kGroup>(stretches);
  if (place.column >= width) return;
  const RowSum sum = sums[place.row];
  float total[kGroup] = {};
#pragma unroll 4
  for (int i = 0; i < sum.count; ++i) {
    const int64_t row = positions == nullptr ? sum.first + i : positions[sum.first + i];
    float values[kGroup];
    loadGroup(rows + row * width + place.column, values);
#pragma unroll
    for (int j = 0; j < kGroup; ++j) total[j] += values[j];
  }
  if (sum.slot >= 0) {
    storeGroup(partialSums + sum.slot * width + place.column, total);
    return;
  }
  float* target = dTable + sum.token * width + place.column;
  float before[kGroup];
  loadGroup(target, before);
#pragma unroll
  for (int j = 0; j < kGroup; ++j) total[j] += before[j];
  storeGroup(target, total);
}

template <int kGroup>
void addRows(Context& context, const TokenOrder& order, const float* dOut, int64_t width, float* dTable) {
  const int32_t* positions = context.upload(ScratchSlot::tokenOrder, order.list);
  const auto* pieces = reinterpret_cast<const RowSum*>(positions + order.positions);
  float* partialSums = nullptr;
  if (order.partialSums > 0) {
    partialSums = context.scratchOf<float>(ScratchSlot::reduction, order.partialSums * width);
  }
  const RowBlocks first = rowBlocks(order.pieces, width, kGroup);
  const RowBlocks second = rowBlocks(order.sums, width, kGroup);
  launch(context, {.operation = "embeddingBackward", .grid = first.grid, .block = first.block},
         rowSumKernel<kGroup>, pieces, positions, dOut, first.stretches, width, dTable, partialSums);
  launch(context, {.operation = "embeddingBackward", .grid = second.grid, .block = second.block},
         rowSumKernel<kGroup>, pieces + order.pieces, nullptr, partialSums, second.stretches, width, dTable,
         nullptr);
}

}  // namespace

void embedding(Context& context, const EmbeddingArgs& args) {
  withType(args.table.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int kGroup = kGroupOf<float, T>;
    const int64_t rows = args.out.shape[0], width = args.out.shape[1];
    const T* table = elementsOf<T>(args.table);
    const bool grouped = width % kGroup == 0 && groupAligned<kGroup>(table, args.out.f32());
    const RowBlocks blocks = rowBlocks(rows, width, grouped ? kGroup : 1);
    launch(context, {.operation = "embedding", .grid = blocks.grid, .block = blocks.block},
           grouped ? embeddingKernel<kGroup, T> : embeddingKernel<1, T>, args.tokens.i32(), table,
           blocks.stretches, width, args.out.f32());
  });
}

void embeddingBackward(Context& context, const EmbeddingBackwardArgs& args) {
  constexpr int kGroup = kGroupOf<float>;
  const int64_t width = args.dOut.shape[1];
  const TokenOrder order = orderTokens(args.tokens.host, args.dOut.shape[0], args.dTable.shape[0]);
  if (width % kGroup == 0 && groupAligned<kGroup>(args.dOut.f32(), args.dTable.f32())) {
    addRows<kGroup>(context, order, args.dOut.f32(), width, args.dTable.f32());
  } else {
    addRows<1>(context, order, args.dOut.f32(), width, args.dTable.f32());
  }
}

}  // namespace sralign::cuda
