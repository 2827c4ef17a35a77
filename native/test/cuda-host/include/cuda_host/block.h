// Test infrastructure (../../README.md): what a thread of a kernel knows of its block, the block's shared
// memory, and the waits of its threads. src/block.cc and src/shared_memory.cc implement it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>

#include "types.h"

// Of the thread that runs; set whenever another one goes on.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace cuda_host {

using Site = std::source_location;

extern int currentThread;  // the linear number in the block of the thread that runs
inline int currentLane() { return currentThread % warpSize; }

// Waits for all threads of the block that have not exited.
void synchronizeBlock(const Site& site);

// Ends the kernel with an error that names it, the block and the running thread. Does not return.
[[noreturn]] void failThread(int status, const char* format, ...) __attribute__((format(printf, 2, 3)));

// A step all lanes of `mask` take together. Each brings `lane`, a record of its own; when the last one is
// there, `complete` runs once with the records of all (by lane; null where not in the mask), and everybody
// goes on. `name` is the literal by which the step is known: lanes with different ones do not meet.
using Complete = void (*)(unsigned mask, void* const (&lanes)[32]);
void meetLanes(const char* name, unsigned mask, void* lane, Complete complete, const Site& site);

// ---- shared memory ----------------------------------------------------------------------------------------

// Where a declaration of static shared memory lies in the block of number `block`.
struct SharedDeclaration {
  uint64_t block = 0;
  void* data = nullptr;
};
extern uint64_t currentBlock;  // counts blocks over the whole run, from 1
void placeShared(SharedDeclaration& declaration, const char* name, size_t bytes, size_t alignment);

template <typename T>
inline T& shared(SharedDeclaration& declaration, const char* name) {
  if (declaration.block != currentBlock) {
    placeShared(declaration, name, sizeof(T), alignof(T) < 16 ? 16 : alignof(T));
  }
  return *static_cast<T*>(declaration.data);
}

char* dynamicShared();
// Whether the bytes lie in one shared array of the running block.
bool isShared(const void* address, size_t bytes);

}  // namespace cuda_host

// One variable per declaration and block, as on a device: a template has one for every instantiation.
#define SRALIGN_SHARED(type, name, count)                   \
  static ::cuda_host::SharedDeclaration name##_declaration; \
  auto& name = ::cuda_host::shared<type[count]>(name##_declaration, #name)
#define SRALIGN_DYNAMIC_SHARED(name) char* const name = ::cuda_host::dynamicShared()

// NOLINTBEGIN: the names are CUDA's
inline void __syncthreads(const cuda_host::Site& site = cuda_host::Site::current()) {
  cuda_host::synchronizeBlock(site);
}
// Threads run one after another in one memory: everything written is visible to all at once.
inline void __threadfence() {}
inline void __threadfence_block() {}
// NOLINTEND
