// Test infrastructure (../README.md).
#include "rank_memory.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "errors.h"

namespace cuda_host {

// The memory starts as zeros, which is where ranks that nobody has joined stand.
RankMemory::RankMemory(const std::string& name, int rank, int size, int timeoutMs) : rank_(rank), size_(size) {
  // With the size in the name, since ranks that disagree about it must not share a file.
  const std::string path = format("/%s-%d", name.c_str(), size);
  const size_t bytes = static_cast<size_t>(size) * sizeof(Slot);
  const auto fail = [&](const std::string& what) {
    shm_unlink(path.c_str());
    if (slots_ != nullptr) munmap(slots_, bytes);
    throw std::runtime_error(format("rank %d of %d: ", rank, size) + what);
  };

  const int file = shm_open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) fail(std::string("no shared memory: ") + strerror(errno));
  void* memory = MAP_FAILED;
  if (ftruncate(file, static_cast<off_t>(bytes)) == 0) {
    memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  const int reason = errno;
  close(file);
  if (memory == MAP_FAILED) fail(std::string("no shared memory: ") + strerror(reason));
  slots_ = static_cast<Slot*>(memory);

  if (slot(rank).process.exchange(getpid()) != 0) fail("another process is this rank");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeoutMs);
  while (!allJoined()) {
    if (std::chrono::steady_clock::now() > deadline) {
      int missing = 0;
      while (slot(missing).process != 0) ++missing;
      fail(format("rank %d did not come within %d ms", missing, timeoutMs));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  shm_unlink(path.c_str());  // everybody has it open; the first one succeeds
}

RankMemory::~RankMemory() {
  leave();
  munmap(slots_, static_cast<size_t>(size_) * sizeof(Slot));
}

bool RankMemory::allJoined() const {
  for (int rank = 0; rank < size_; ++rank) {
    if (slot(rank).process == 0) return false;
  }
  return true;
}

bool RankMemory::canWrite() const {
  for (int rank = 0; rank < size_; ++rank) {
    if (slot(rank).read < slot(rank_).written) return false;
  }
  return true;
}

void RankMemory::write(const RankCall& call) {
  slot(rank_).call = call;
  ++slot(rank_).written;
}

int RankMemory::firstMissing() const {
  for (int rank = 0; rank < size_; ++rank) {
    if (slot(rank).written < slot(rank_).written) return rank;
  }
  return -1;
}

bool RankMemory::canRead() const { return firstMissing() < 0; }

void RankMemory::read() { ++slot(rank_).read; }

void RankMemory::leave() { slot(rank_).left = 1; }

int RankMemory::firstGone() const {
  for (int rank = 0; rank < size_; ++rank) {
    if (slot(rank).left != 0) return rank;
    if (kill(slot(rank).process, 0) != 0 && errno == ESRCH) return rank;
  }
  return -1;
}

}  // namespace cuda_host
