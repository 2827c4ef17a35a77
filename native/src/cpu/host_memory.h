// Aligned memory from the system.
#pragma once

#include <cstddef>

namespace sralign::cpu {

// 64-byte aligned; large blocks are aligned to huge pages and ask for them. Throws OutOfMemoryError.
void* allocateHostMemory(size_t bytes);
void freeHostMemory(void* data);

}  // namespace sralign::cpu
