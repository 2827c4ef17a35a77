#include "host_memory.h"

#include <cstdlib>
#include <string>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "../core/error.h"

namespace sralign::cpu {

namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

void* allocateHostMemory(size_t bytes) {
  const bool large = bytes >= 2 * kHugePage;
  void* data = nullptr;
  if (posix_memalign(&data, large ? kHugePage : kCacheLine, bytes) != 0) {
    throw OutOfMemoryError("the system has no " + std::to_string(bytes) + " bytes of memory left");
  }
#ifdef MADV_HUGEPAGE
  // Only advice: where the system has no huge pages, ordinary ones serve.
  if (large) madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return data;
}

void freeHostMemory(void* data) { std::free(data); }

}  // namespace sralign::cpu
