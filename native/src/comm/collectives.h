// Operations that all ranks of a job do together on tensor memory. mpi/ implements them for the CPU, cuda/
// with NCCL; a job of one rank needs none.
//
// Every rank makes the same calls in the same order. A call starts the operation and returns; until `wait`
// the memory it names must stay alive and untouched. One thread uses an object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sralign {

// When an operation ran, for traces: microseconds since the epoch (the same clock as JavaScript's
// performance.timeOrigin).
struct CollectiveSpan {
  const char* name;  // "all-gather", "reduce-scatter", "all-reduce", "broadcast", "barrier"
  double startUs, endUs;
  size_t bytes;  // of the whole operation: what the result of an all-gather or the input of the others has
};

class Collectives {
 public:
  using Ticket = uint64_t;  // counts from 1

  virtual ~Collectives() = default;

  // `out` = the shards of all ranks, in the order of ranks; `bytes` of one shard. `shard` may be its place in
  // `out`.
  virtual Ticket allGather(const void* shard, void* out, size_t bytes) = 0;
  // `shard` = elements [rank count, (rank + 1) count) of the sum over ranks of `input`, which has size *
  // count. The order of the sum is always the same.
  virtual Ticket reduceScatter(const float* input, float* shard, size_t count) = 0;
  // The sum over ranks, in place; the same bits on every rank.
  virtual Ticket allReduce(float* values, size_t count) = 0;
  virtual Ticket broadcast(void* data, size_t bytes, int root) = 0;
  virtual Ticket barrier() = 0;

  // On the CPU: returns when the operation is done. On a GPU: work queued from now on runs after it; the host
  // does not wait. Tickets may be waited for in any order, and more than once. Throws EngineError
  // (ERR_COMMUNICATION).
  virtual void wait(Ticket ticket) = 0;

  // Whether nothing that was started is still under way.
  virtual bool isIdle() const = 0;

  // Spans of the operations finished since the last call, where the device tells them (the CPU).
  virtual std::vector<CollectiveSpan> takeSpans() = 0;
};

}  // namespace sralign
