// Sums over ranks. The values are cut into one part per rank; every rank receives its part from all others
// and adds the parts up in double, in the order of ranks, so that the result does not depend on who came
// first. An all-reduce then sends the sums to all others: every element is added up in one place and has the
// same bits everywhere.
//
// MPI's own reductions promise neither: the order may depend on the number of ranks, the size and the time,
// and they add in f32. The bytes sent are those of the best algorithms, (size - 1) / size of the input per
// direction.
//
// A part is worked on piece by piece: the scratch memory stays small whatever the size, and one piece is
// added up while the next is on its way. The messages are point to point instead of MPI_Ialltoall: the ranks
// need not start later pieces in step with other collective operations, the own part needs no copy, and
// offsets are not int.
#include <algorithm>

#include "operation.h"

namespace sralign::mpi {

namespace {

constexpr size_t kPieceBytes = size_t{4} << 20;  // of all ranks together; there are two of them
constexpr size_t kLeastPieceBytes = 16384;       // of one rank: what pays for a message
constexpr int kTag = 0;  // messages between two ranks arrive in the order they were sent

// out[i] = sum over sources in double; `out` may be one of them.
void sum(const std::vector<const float*>& sources, float* out, size_t count) {
  constexpr size_t kBlock = 1024;
  double totals[kBlock];
  for (size_t first = 0; first < count; first += kBlock) {
    const size_t length = std::min(kBlock, count - first);
    std::fill_n(totals, length, 0.0);
    for (const float* source : sources) {
      for (size_t i = 0; i < length; ++i) totals[i] += static_cast<double>(source[first + i]);
    }
    for (size_t i = 0; i < length; ++i) out[first + i] = static_cast<float>(totals[i]);
  }
}

class Reduction : public Operation {
 public:
  // Part r is [r partCount, (r + 1) partCount) of `input`, cut off at `totalCount`.
  Reduction(const char* name, const World& world, const float* input, size_t totalCount, size_t partCount,
            float* ownPart, float* gathered)
      : Operation(name, totalCount * sizeof(float)),
        world_(world),
        input_(input),
        totalCount_(totalCount),
        partCount_(partCount),
        ownPart_(ownPart),
        gathered_(gathered) {
    const size_t bytes = std::max(kPieceBytes / static_cast<size_t>(world.size), kLeastPieceBytes);
    pieceCount_ = std::min(bytes / sizeof(float), partCount);
  }

  bool usesScratch() const override { return true; }

  bool advance(Context& context) override {
    if (!started_) {
      started_ = true;
      reserve(context);
      exchange(context, 0);
      return true;
    }
    if (offset_ >= partCount_) return false;
    const size_t current = offset_;
    offset_ += pieceCount_;
    requests.clear();
    if (offset_ < partCount_) exchange(context, offset_);
    sumPiece(context, current);
    if (gathered_ != nullptr) gatherPiece(context, current);
    return offset_ < partCount_ || !requests.empty();
  }

 private:
  // Of the piece that starts at `offset` of part `rank`.
  size_t pieceLength(int rank, size_t offset) const {
    const size_t begin = static_cast<size_t>(rank) * partCount_ + offset;
    return begin >= totalCount_ ? 0 : std::min({pieceCount_, partCount_ - offset, totalCount_ - begin});
  }

  void reserve(Context& context) const {
    const size_t count = 2 * static_cast<size_t>(world_.size) * pieceCount_;
    if (context.scratchCount >= count) return;
    context.scratch.reset();
    context.scratchCount = 0;
    context.scratch = std::make_unique_for_overwrite<float[]>(count);
    context.scratchCount = count;
  }

  // Where the piece of `rank` at `offset` of the own part arrives: pieces alternate between two halves.
  float* slot(const Context& context, int rank, size_t offset) const {
    const size_t half = offset / pieceCount_ % 2;
    return context.scratch.get() +
           (half * static_cast<size_t>(world_.size) + static_cast<size_t>(rank)) * pieceCount_;
  }

  template <typename Call>
  void forEachOther(Call call) const {
    for (int step = 1; step < world_.size; ++step) call((world_.rank + step) % world_.size);
  }

  void receive(const Context& context, int source, float* target, size_t count) {
    if (count == 0) return;
    requests.push_back(MPI_REQUEST_NULL);
    check(MPI_Irecv(target, static_cast<int>(count), MPI_FLOAT, source, kTag, context.communicator,
                    &requests.back()),
          span.name);
  }

  void send(const Context& context, int target, const float* source, size_t count) {
    if (count == 0) return;
    requests.push_back(MPI_REQUEST_NULL);
    check(MPI_Isend(source, static_cast<int>(count), MPI_FLOAT, target, kTag, context.communicator,
                    &requests.back()),
          span.name);
  }

  void exchange(const Context& context, size_t offset) {
    const size_t ownLength = pieceLength(world_.rank, offset);
    forEachOther([&](int other) { receive(context, other, slot(context, other, offset), ownLength); });
    forEachOther([&](int other) {
      send(context, other, input_ + static_cast<size_t>(other) * partCount_ + offset,
           pieceLength(other, offset));
    });
  }

  void sumPiece(const Context& context, size_t offset) const {
    std::vector<const float*> sources;
    for (int rank = 0; rank < world_.size; ++rank) {
      sources.push_back(rank == world_.rank ? input_ + static_cast<size_t>(rank) * partCount_ + offset
                                            : slot(context, rank, offset));
    }
    sum(sources, ownPart_ + offset, pieceLength(world_.rank, offset));
  }

  void gatherPiece(const Context& context, size_t offset) {
    forEachOther([&](int other) {
      receive(context, other, gathered_ + static_cast<size_t>(other) * partCount_ + offset,
              pieceLength(other, offset));
    });
    const size_t ownLength = pieceLength(world_.rank, offset);
    forEachOther([&](int other) { send(context, other, ownPart_ + offset, ownLength); });
  }

  const World world_;
  const float* input_;
  size_t totalCount_, partCount_, pieceCount_;
  float* ownPart_;
  float* gathered_;  // null: the sums stay where they are
  size_t offset_ = 0;
  bool started_ = false;
};

}  // namespace

std::shared_ptr<Operation> makeReduceScatter(const World& world, const float* input, float* shard,
                                             size_t count) {
  const size_t total = count * static_cast<size_t>(world.size);
  return std::make_shared<Reduction>("reduce-scatter", world, input, total, count, shard, nullptr);
}

std::shared_ptr<Operation> makeAllReduce(const World& world, float* values, size_t count) {
  const auto size = static_cast<size_t>(world.size);
  const size_t part = (count + size - 1) / size;
  float* ownPart = values + std::min(static_cast<size_t>(world.rank) * part, count);
  return std::make_shared<Reduction>("all-reduce", world, values, count, part, ownPart, values);
}

}  // namespace sralign::mpi
