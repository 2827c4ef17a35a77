// Who owns tensor memory: a table of tensors known to the outside by number. A number names a slot and the
// slot's generation, so one that was released is recognised instead of reaching somebody else's memory.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "caching_allocator.h"
#include "tensor.h"

namespace sralign {

struct MemoryStatistics {
  int64_t liveTensors = 0;       // views count, too
  size_t liveBytes = 0;          // of storage; views share it
  size_t peakBytes = 0;          // highest liveBytes since the last resetPeak
  size_t largestAllocation = 0;  // largest single tensor allocated since the last resetPeak
  size_t cachedBytes = 0;        // kept for reuse
};

class TensorTable {
 public:
  using Id = int64_t;  // fits the 53 bits of a JavaScript number; 0 is never a tensor

  explicit TensorTable(Backend& backend) : backend_(backend), allocator_(backend) {}
  ~TensorTable();
  TensorTable(const TensorTable&) = delete;
  TensorTable& operator=(const TensorTable&) = delete;

  // Contents are undefined. `shape` holds `rank` sizes, each at least 1.
  Id create(DType dtype, int rank, const int64_t* shape);
  // A tensor on part of the memory of `base`, which stays alive as long as one of its tensors does.
  Id createView(Id base, int64_t elementOffset, int rank, const int64_t* shape);
  void release(Id id);
  // Throws EngineError (ERR_TENSOR_DISPOSED) for a number that is not a living tensor.
  const TensorView& get(Id id) const;
  // Keeps the memory of a tensor alive after it was released. Let go on this thread, before the table ends.
  std::shared_ptr<void> hold(Id id) const { return at(id).storage; }

  MemoryStatistics statistics() const;
  void resetPeak();

 private:
  struct Storage {
    CachingAllocator& allocator;
    size_t& liveBytes;
    void* data;
    size_t bytes;
    std::unique_ptr<int32_t[]> host;  // copy of an i32 tensor that the host cannot read
    ~Storage() {
      allocator.release(data, bytes);
      liveBytes -= bytes;
    }
  };
  struct Slot {
    TensorView view;
    std::shared_ptr<Storage> storage;  // null: free
    int64_t generation = 1;
  };

  const Slot& at(Id id) const;
  Id insert(const TensorView& view, std::shared_ptr<Storage> storage);

  Backend& backend_;
  CachingAllocator allocator_;
  size_t liveBytes_ = 0;
  MemoryStatistics statistics_;
  std::vector<Slot> slots_;
  std::vector<int64_t> freeSlots_;
};

}  // namespace sralign
