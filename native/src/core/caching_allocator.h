// Memory of one device for tensors: freed blocks are kept and handed out again, because a training step asks
// for the same sizes every time and fresh pages from the system cost more than the operations that fill them.
#pragma once

#include <cstddef>
#include <deque>
#include <list>
#include <unordered_map>

namespace sralign {

class Backend;

class CachingAllocator {
 public:
  explicit CachingAllocator(Backend& backend) : backend_(backend) {}
  ~CachingAllocator() { trim(); }
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  // Throws OutOfMemoryError, after giving every cached block back and trying once more.
  void* allocate(size_t bytes);
  void release(void* data, size_t bytes);
  void trim() { shrinkTo(0); }

  size_t cachedBytes() const { return cachedBytes_; }

 private:
  struct Block {
    void* data;
    size_t bytes;
  };
  using Position = std::list<Block>::iterator;

  size_t blockSize(size_t bytes) const;
  void shrinkTo(size_t bytes);
  size_t cacheLimit() const;

  Backend& backend_;
  std::list<Block> cached_;                                  // least recently freed first
  std::unordered_map<size_t, std::deque<Position>> bySize_;  // the same order within a size
  size_t cachedBytes_ = 0, usedBytes_ = 0, peakUsedBytes_ = 0;
};

}  // namespace sralign
