// Test infrastructure (../README.md): where the ranks of a communicator of NCCL meet, memory that their processes share.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace cuda_host {

// What has to be the same on all ranks.
struct RankCall {
  uint64_t number = 0;  // of the operation, from 1
  const char* name() const;
  int32_t operation = 0, type = 0, root = 0;
  uint64_t count = 0;

  bool operator==(const RankCall&) const = default;
  std::string describe() const;  // "operation 3, ncclBroadcast of 12 uint8 from rank 1"
};

// Ranks go from round to round together: in each every rank writes a piece of its data, then reads those of the others.
class RankMemory {
 public:
  static constexpr size_t kPieceBytes = size_t{64} << 10;

  // Waits for the other ranks. Throws std::runtime_error where they do not come in time, or a rank comes twice. All names
  // in the file system are gone when it returns.
  RankMemory(const std::string& name, int rank, int size, int timeoutMs);
  ~RankMemory();
  RankMemory(const RankMemory&) = delete;
  RankMemory& operator=(const RankMemory&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Whether everybody has read the last round, so that this rank may write the next.
  bool canWrite() const;
  char* piece() { return slot(rank_).piece; }
  void write(const RankCall& call);
  // Whether everybody has written the round that this rank wrote.
  bool canRead() const;
  const char* pieceOf(int rank) const { return slot(rank).piece; }
  // What the rank wrote last.
  const RankCall& callOf(int rank) const { return slot(rank).call; }
  void read();
  // The first rank that has not written the round of this one; only where `canRead` does not hold.
  int firstMissing() const;

  // This rank leaves for good, as it also does with the object.
  void leave();
  // A rank that left or whose process ended, or -1.
  int firstGone() const;

 private:
  struct Slot {
    std::atomic<int32_t> process;  // 0: not there yet
    std::atomic<uint32_t> left;
    std::atomic<uint64_t> written, read;  // rounds
    RankCall call;
    alignas(64) char piece[kPieceBytes];
  };
  static_assert(std::atomic<uint64_t>::is_always_lock_free);

  Slot& slot(int rank) const { return slots_[rank]; }
  bool allJoined() const;

  int rank_, size_;
  Slot* slots_ = nullptr;
};

}  // namespace cuda_host
