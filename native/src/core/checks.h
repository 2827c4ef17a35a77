// Checks of what index tensors contain, for every backend, from their copy in host memory; the shapes were
// checked before (native/lib). Each throws IndexError naming the argument, the place and the value.
#pragma once

#include <cstdint>

#include "../backend.h"

namespace sralign {

// All index tensors of an operation.
void checkIndices(const EmbeddingArgs&);
void checkIndices(const EmbeddingBackwardArgs&);
void checkIndices(const RotaryArgs&);
void checkIndices(const AttentionArgs&);
void checkIndices(const AttentionBackwardArgs&);
void checkIndices(const LinearLogprobArgs&);
void checkIndices(const LinearLogprobBackwardArgs&);
void checkIndices(const LogprobGatherArgs&);
void checkIndices(const LogprobGatherBackwardArgs&);
void checkIndices(const SequenceSumArgs&);
void checkIndices(const SequenceSumBackwardArgs&);
void checkIndices(const PreferenceLossArgs&);
// The other operations have none.
template <typename Args>
void checkIndices(const Args&) {}

// ---- one tensor

// Every value in [lowest, limit).
void checkRange(const char* name, const int32_t* values, int64_t count, int64_t limit, int64_t lowest = 0);
void checkNonDecreasing(const char* name, const int32_t* values, int64_t count);
// In range already; no value twice.
void checkDistinct(const char* name, const int32_t* values, int64_t count, int64_t limit);
// [count, 3] start, length, parent: in order of start, covering [0, tokens) without gaps, parents before
// children.
void checkSegments(const int32_t* segments, int64_t count, int64_t tokens);
// [count] non-decreasing from 0 to `last`.
void checkOffsets(const int32_t* offsets, int64_t count, int64_t last);

}  // namespace sralign
