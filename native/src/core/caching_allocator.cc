#include "caching_allocator.h"

#include <algorithm>
#include <bit>
#include <string>

#include "../backend.h"
#include "error.h"

namespace sralign {

namespace {

constexpr size_t kMinimumBlock = 64;
constexpr size_t kCacheFloor = size_t{64} << 20;

// Eight classes per power of two, so that rounding up wastes at most 12.5 %.
size_t sizeClass(size_t bytes) {
  if (bytes <= kMinimumBlock) return kMinimumBlock;
  const size_t step = std::max<size_t>(std::bit_floor(bytes) / 8, kMinimumBlock);
  return (bytes + step - 1) / step * step;
}

}  // namespace

// Ragged batches bring new sizes for ever. Used and cached memory together may exceed the peak use by a
// quarter; what lies unused longest goes back to the system first.
size_t CachingAllocator::cacheLimit() const {
  if (!backend_.keepsBlocks()) return 0;
  const size_t total = std::max(peakUsedBytes_ + peakUsedBytes_ / 4, kCacheFloor);
  return total > usedBytes_ ? total - usedBytes_ : 0;
}

size_t CachingAllocator::blockSize(size_t bytes) const {
  return backend_.keepsBlocks() ? sizeClass(bytes) : bytes;
}

void* CachingAllocator::allocate(size_t bytes) {
  const size_t size = blockSize(bytes);
  void* data = nullptr;
  if (const auto found = bySize_.find(size); found != bySize_.end() && !found->second.empty()) {
    const Position position = found->second.back();
    found->second.pop_back();
    data = position->data;
    cached_.erase(position);
    cachedBytes_ -= size;
  } else {
    try {
      data = backend_.allocate(size);
    } catch (const OutOfMemoryError&) {
      trim();
      try {
        data = backend_.allocate(size);
      } catch (const OutOfMemoryError& error) {
        throw OutOfMemoryError("out of memory: a tensor of " + std::to_string(bytes) +
                               " bytes was asked for while " + std::to_string(usedBytes_) +
                               " bytes of tensors are in use (" + error.what() + ")");
      }
    }
  }
  usedBytes_ += size;
  peakUsedBytes_ = std::max(peakUsedBytes_, usedBytes_);
  shrinkTo(cacheLimit());
  return data;
}

void CachingAllocator::release(void* data, size_t bytes) {
  const size_t size = blockSize(bytes);
  usedBytes_ -= size;
  cachedBytes_ += size;
  bySize_[size].push_back(cached_.insert(cached_.end(), {data, size}));
  shrinkTo(cacheLimit());
}

void CachingAllocator::shrinkTo(size_t bytes) {
  while (cachedBytes_ > bytes) {
    const Block block = cached_.front();
    cached_.pop_front();
    const auto found = bySize_.find(block.bytes);
    found->second.pop_front();
    if (found->second.empty()) bySize_.erase(found);
    cachedBytes_ -= block.bytes;
    backend_.release(block.data, block.bytes);
  }
}

}  // namespace sralign
