// Test infrastructure (../README.md). A device may finish an asynchronous copy at once or as late as the wait
// for its group; each copy draws one of the two. A copy nobody waits for may never happen.
#include "async_copy.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "mma_host.h"
#include "random.h"

namespace cuda_host {
namespace {

struct Copy {
  void* target;
  const void* source;  // null: zeros
  size_t bytes;
  int group;
};

struct ThreadCopies {
  std::vector<Copy> waiting;  // the oldest first
  int groups = 0;             // committed
};

std::vector<ThreadCopies> copies;  // of each thread of the block

void perform(const Copy& copy) {
  if (copy.source == nullptr) {
    memset(copy.target, 0, copy.bytes);
  } else {
    memcpy(copy.target, copy.source, copy.bytes);
  }
}

}  // namespace

void beginCopies(int threads) {
  if (copies.size() < static_cast<size_t>(threads)) copies.resize(static_cast<size_t>(threads));
  for (int t = 0; t < threads; ++t) {
    copies[static_cast<size_t>(t)].waiting.clear();
    copies[static_cast<size_t>(t)].groups = 0;
  }
}

void startCopy(void* shared, const void* global, size_t bytes, bool valid) {
  if (!isShared(shared, bytes))
    failThread(cudaErrorIllegalAddress, "cp.async to %p, not in shared memory", shared);
  if (reinterpret_cast<uintptr_t>(shared) % bytes != 0 ||
      (valid && reinterpret_cast<uintptr_t>(global) % bytes != 0)) {
    failThread(cudaErrorMisalignedAddress, "cp.async of %zu bytes from %p to %p", bytes, global, shared);
  }
  if (valid && isShared(global, 1)) {
    failThread(cudaErrorIllegalAddress, "cp.async from %p, which is shared memory", global);
  }
  ThreadCopies& own = copies[static_cast<size_t>(currentThread)];
  const Copy copy = {shared, valid ? global : nullptr, bytes, own.groups};
  if (randomBelow(2) == 0) {
    perform(copy);
  } else {
    own.waiting.push_back(copy);
  }
}

void commitCopies() { ++copies[static_cast<size_t>(currentThread)].groups; }

void waitForCopies(int pending) {
  ThreadCopies& own = copies[static_cast<size_t>(currentThread)];
  size_t done = 0;
  while (done < own.waiting.size() && own.waiting[done].group < own.groups - pending)
    perform(own.waiting[done++]);
  own.waiting.erase(own.waiting.begin(), own.waiting.begin() + static_cast<ptrdiff_t>(done));
}

}  // namespace cuda_host
