#include "scratch.h"

#include <algorithm>

#include "host_memory.h"

namespace sralign::cpu {

namespace {

constexpr size_t kSlots = static_cast<size_t>(ScratchSlot::count);

struct Buffers {
  void* data[kSlots] = {};
  size_t bytes[kSlots] = {};
  ~Buffers() {
    for (void* buffer : data) freeHostMemory(buffer);
  }
};

thread_local Buffers buffers;

}  // namespace

void* scratch(ScratchSlot slot, size_t bytes) {
  const size_t index = static_cast<size_t>(slot);
  if (buffers.bytes[index] < bytes) {
    freeHostMemory(buffers.data[index]);
    buffers.data[index] = nullptr;
    buffers.bytes[index] = 0;
    buffers.data[index] = allocateHostMemory(bytes);
    buffers.bytes[index] = bytes;
  }
  return buffers.data[index];
}

Workspace scratchInUse() {
  Workspace workspace;
  for (const size_t bytes : buffers.bytes) {
    workspace.bytes += bytes;
    workspace.largestBytes = std::max(workspace.largestBytes, bytes);
  }
  return workspace;
}

}  // namespace sralign::cpu
