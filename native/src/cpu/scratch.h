// Working memory of the CPU operations: one growing buffer per slot and calling thread, so that nothing is
// allocated in the steady state and engines in different worker threads never meet.
#pragma once

#include <cstddef>

#include "../backend.h"

namespace sralign::cpu {

// An operation may hold several slots at once, but two users of one slot must not overlap in time.
enum class ScratchSlot {
  matmulA,
  matmulB,
  matmulC,
  hiddenRows,
  logits,
  rowTotals,
  rowMoments,
  dLogits,
  dHiddenRows,
  attention,
  attentionForest,
  norm,
  reduction,
  count
};

// At least `bytes` bytes, 64-byte aligned, contents undefined; valid until the next request for the same slot
// by the same thread. Inside a parallel region each thread has buffers of its own. Throws OutOfMemoryError.
void* scratch(ScratchSlot slot, size_t bytes);

// What the calling thread holds now.
Workspace scratchInUse();

}  // namespace sralign::cpu
