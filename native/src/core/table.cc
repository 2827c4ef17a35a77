#include "table.h"

#include <algorithm>
#include <utility>

#include "../backend.h"
#include "error.h"

namespace sralign {

namespace {

constexpr int kSlotBits = 22;  // 4 million tensors; leaves 31 bits of generations
constexpr int64_t kSlotMask = (int64_t{1} << kSlotBits) - 1;
constexpr int64_t kLastGeneration = (int64_t{1} << 31) - 1;

TensorView viewOf(void* data, DType dtype, int rank, const int64_t* shape) {
  TensorView view{.data = data, .dtype = dtype, .rank = rank};
  std::copy(shape, shape + rank, view.shape);
  return view;
}

}  // namespace

TensorTable::~TensorTable() { slots_.clear(); }  // before the allocator that the storages return to

TensorTable::Id TensorTable::create(DType dtype, int rank, const int64_t* shape) {
  TensorView view = viewOf(nullptr, dtype, rank, shape);
  const size_t bytes = static_cast<size_t>(view.bytes());
  view.data = allocator_.allocate(bytes);
  const bool mirrored = dtype == DType::i32 && !backend_.isHost();
  auto storage = std::make_shared<Storage>(
      allocator_, liveBytes_, view.data, bytes,
      mirrored ? std::make_unique<int32_t[]>(static_cast<size_t>(view.numel())) : nullptr);
  if (dtype == DType::i32) view.host = mirrored ? storage->host.get() : view.i32();
  liveBytes_ += bytes;
  statistics_.peakBytes = std::max(statistics_.peakBytes, liveBytes_);
  statistics_.largestAllocation = std::max(statistics_.largestAllocation, bytes);
  return insert(view, std::move(storage));
}

TensorTable::Id TensorTable::createView(Id base, int64_t elementOffset, int rank, const int64_t* shape) {
  const Slot& slot = at(base);
  char* data = static_cast<char*>(slot.view.data) + elementOffset * sizeOf(slot.view.dtype);
  TensorView view = viewOf(data, slot.view.dtype, rank, shape);
  if (slot.view.host != nullptr) view.host = slot.view.host + elementOffset;
  if (elementOffset < 0 || elementOffset + view.numel() > slot.view.numel()) {
    throw IndexError("a view reaches past the end of its tensor");
  }
  return insert(view, slot.storage);
}

TensorTable::Id TensorTable::insert(const TensorView& view, std::shared_ptr<Storage> storage) {
  if (freeSlots_.empty()) {
    if (static_cast<int64_t>(slots_.size()) > kSlotMask) throw OutOfMemoryError("too many tensors are alive");
    freeSlots_.push_back(static_cast<int64_t>(slots_.size()));
    slots_.emplace_back();
  }
  const int64_t index = freeSlots_.back();
  freeSlots_.pop_back();
  Slot& slot = slots_[static_cast<size_t>(index)];
  slot.view = view;
  slot.storage = std::move(storage);
  ++statistics_.liveTensors;
  return (slot.generation << kSlotBits) | index;
}

void TensorTable::release(Id id) {
  at(id);
  const int64_t index = id & kSlotMask;
  Slot& slot = slots_[static_cast<size_t>(index)];
  slot.storage.reset();
  --statistics_.liveTensors;
  if (slot.generation == kLastGeneration) return;  // a slot whose numbers are used up is never filled again
  ++slot.generation;
  freeSlots_.push_back(index);
}

const TensorView& TensorTable::get(Id id) const { return at(id).view; }

const TensorTable::Slot& TensorTable::at(Id id) const {
  const int64_t index = id & kSlotMask;
  if (id > 0 && index < static_cast<int64_t>(slots_.size())) {
    const Slot& slot = slots_[static_cast<size_t>(index)];
    if (slot.storage && slot.generation == id >> kSlotBits) return slot;
  }
  throw EngineError("ERR_TENSOR_DISPOSED", "a tensor was used after it was disposed");
}

MemoryStatistics TensorTable::statistics() const {
  MemoryStatistics statistics = statistics_;
  statistics.liveBytes = liveBytes_;
  statistics.cachedBytes = allocator_.cachedBytes();
  return statistics;
}

void TensorTable::resetPeak() {
  statistics_.peakBytes = liveBytes_;
  statistics_.largestAllocation = 0;
}

}  // namespace sralign
