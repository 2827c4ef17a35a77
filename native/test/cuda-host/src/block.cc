// Test infrastructure (../README.md).
#include "block.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "async_copy.h"
#include "cuda_host/block.h"
#include "errors.h"
#include "faults.h"
#include "fiber.h"
#include "memory.h"
#include "random.h"
#include "shared_memory.h"
#include "symbols.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_host {

int currentThread = 0;

namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMaxWarps = kMaxThreads / warpSize;

// A thread of the block. It has a fiber from its first to its last step.
struct Thread {
  Fiber* fiber;
  const char* waits;  // for what; null while it can go on
  Site site;          // where
};

// Lanes of a warp on their way to a common step.
struct Meeting {
  unsigned mask, arrived;
  const char* name;
  Complete complete;
  Site site;
  void* lanes[warpSize];
};

struct Warp {
  unsigned all;        // lanes that exist
  unsigned ready;      // lanes that can go on; not the running one
  unsigned atBarrier;  // lanes at __syncthreads
  unsigned exited;
  int meetings;
  Meeting meeting[warpSize];
};

// The block that runs.
struct Block {
  const Kernel* kernel = nullptr;  // null: none runs
  int threads = 0, warps = 0;
  int live = 0;             // threads that have not exited
  int atBarrier = 0;        // of these
  int barrierFirst = 0;     // the first thread there
  unsigned readyWarps = 0;  // warps with ready lanes
  // How the next thread is drawn: from the same warp while it has any, so that warps run far ahead of each
  // other, or from all, so that lanes do. Either may hide what the other shows; each block draws one.
  bool warpByWarp = false;
  bool failed = false;
  cudaError_t status = cudaSuccess;
  std::string message;
};

Block block;
Thread threads[kMaxThreads];
Warp warps[kMaxWarps];
uint3 threadPlaces[kMaxThreads];  // threadIdx of each
Fiber scheduler;
std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Fiber*> idleFibers;

// ---- errors -----------------------------------------------------------------------------------------------

std::string describe(const uint3& place) { return format("(%u, %u, %u)", place.x, place.y, place.z); }

std::string describeBlock() {
  return "kernel " + functionName(block.kernel->function) + ", block " + describe(blockIdx);
}

std::string describe(const Site& site) {
  const char* slash = strrchr(site.file_name(), '/');
  return format("%s:%u", slash == nullptr ? site.file_name() : slash + 1, static_cast<unsigned>(site.line()));
}

std::string describeLanes(unsigned lanes) {
  std::string text;
  for (int lane = 0; lane < warpSize; ++lane) {
    if (!(lanes >> lane & 1)) continue;
    int last = lane;
    while (last + 1 < warpSize && (lanes >> (last + 1) & 1)) ++last;
    if (!text.empty()) text += ", ";
    text += last == lane ? format("%d", lane) : format("%d-%d", lane, last);
    lane = last;
  }
  return text;
}

bool sameSite(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() && strcmp(a.file_name(), b.file_name()) == 0;
}

[[noreturn]] void abandonBlock(cudaError_t status, const std::string& message) {
  block.failed = true;
  block.status = status;
  block.message = message;
  threads[currentThread].fiber->abandonFor(scheduler);
}

// No thread can go on, but some have not exited: says who waits where.
[[noreturn]] void failWaiting() {
  std::vector<bool> told(static_cast<size_t>(block.threads));
  std::string text;
  for (int t = 0; t < block.threads; ++t) {
    if (told[static_cast<size_t>(t)] || threads[t].waits == nullptr) continue;
    int count = 0;
    for (int other = t; other < block.threads; ++other) {
      const Thread& thread = threads[other];
      if (thread.waits == nullptr || strcmp(thread.waits, threads[t].waits) != 0) continue;
      if (!sameSite(thread.site, threads[t].site)) continue;
      told[static_cast<size_t>(other)] = true;
      ++count;
    }
    text += format("; %d thread%s from %s on at %s (%s)", count, count == 1 ? "" : "s",
                   describe(threadPlaces[t]).c_str(), threads[t].waits, describe(threads[t].site).c_str());
  }
  abandonBlock(cudaErrorLaunchFailure, describeBlock() + ": the threads wait for each other: " +
                                           format("%d have exited", block.threads - block.live) + text);
}

// ---- which thread runs ------------------------------------------------------------------------------------

void makeReady(int warp, unsigned lanes) {
  if (lanes == 0) return;
  warps[warp].ready |= lanes;
  block.readyWarps |= 1u << warp;
}

// The thread to run next, no longer ready; -1 where none is.
int takeReady() {
  if (block.readyWarps == 0) return -1;
  const int current = currentThread / warpSize;
  const int warp =
      block.warpByWarp && (block.readyWarps >> current & 1) ? current : randomBit(block.readyWarps);
  const int lane = randomBit(warps[warp].ready);
  warps[warp].ready &= ~(1u << lane);
  if (warps[warp].ready == 0) block.readyWarps &= ~(1u << warp);
  return warp * warpSize + lane;
}

void setCurrent(int thread) {
  currentThread = thread;
  threadIdx = threadPlaces[thread];
}

void releaseBarrier() {
  for (int w = 0; w < block.warps; ++w) {
    makeReady(w, warps[w].atBarrier);
    warps[w].atBarrier = 0;
  }
  block.atBarrier = 0;
}

void exitThread() {
  const int w = currentThread / warpSize, lane = currentThread % warpSize;
  Warp& warp = warps[w];
  for (int i = 0; i < warp.meetings; ++i) {
    const Meeting& meeting = warp.meeting[i];
    if (!(meeting.mask >> lane & 1)) continue;
    failThread(cudaErrorLaunchFailure, "exits, but lanes %s wait for it at %s (%s) with mask 0x%08x",
               describeLanes(meeting.arrived).c_str(), meeting.name, describe(meeting.site).c_str(),
               meeting.mask);
  }
  warp.exited |= 1u << lane;
  --block.live;
  // As on a device since Volta: a barrier waits for the threads that have not exited.
  if (block.atBarrier > 0 && block.atBarrier == block.live) releaseBarrier();
}

// What a fiber does: one thread after another, as long as the next one has not begun. A thread that never
// waits costs no switch.
void runThreads(Fiber& self) {
  for (;;) {
    block.kernel->run(block.kernel->arguments.get());
    exitThread();
    const int next = takeReady();
    if (next < 0 && block.live > 0) failWaiting();
    if (next >= 0) {
      setCurrent(next);
      if (threads[next].fiber == nullptr) {
        threads[next].fiber = &self;
        continue;
      }
    }
    idleFibers.push_back(&self);
    self.switchTo(next < 0 ? scheduler : *threads[next].fiber);
  }
}

Fiber& fiberFor(int thread) {
  if (threads[thread].fiber == nullptr) {
    if (idleFibers.empty()) {
      idleFibers.push_back(
          fibers.emplace_back(std::make_unique<Fiber>(runThreads, static_cast<int>(fibers.size()))).get());
    }
    threads[thread].fiber = idleFibers.back();
    idleFibers.pop_back();
  }
  return *threads[thread].fiber;
}

// The running thread waits, or was made ready with others.
void suspend(const char* waits, const Site& site) {
  const int self = currentThread;
  threads[self].waits = waits;
  threads[self].site = site;
  const int next = takeReady();
  if (next < 0) failWaiting();
  if (next != self) {
    setCurrent(next);
    threads[self].fiber->switchTo(fiberFor(next));
  }
  threads[self].waits = nullptr;
}

// ---- a block ----------------------------------------------------------------------------------------------

void runBlock(const Kernel& kernel) {
  block.live = block.threads;
  block.atBarrier = 0;
  block.warpByWarp = randomBelow(4) != 0;
  for (int w = 0; w < block.warps; ++w) {
    const int lanes = block.threads - w * warpSize;
    Warp& warp = warps[w];
    warp.all = lanes >= warpSize ? 0xffffffffu : (1u << lanes) - 1;
    warp.atBarrier = warp.exited = 0;
    warp.meetings = 0;
    makeReady(w, warp.all);
  }
  for (int t = 0; t < block.threads; ++t) {
    threads[t].fiber = nullptr;
    threads[t].waits = nullptr;
  }
  beginShared(kernel.dynamicBytes, kernel.function);
  beginCopies(block.threads);
  currentThread = 0;
  const int first = takeReady();
  setCurrent(first);
  scheduler.switchTo(fiberFor(first));
  if (block.failed) return;
  const std::string overrun = findSharedOverrun();
  if (overrun.empty()) return;
  block.failed = true;
  block.status = cudaErrorIllegalAddress;
  block.message = describeBlock() + ": a thread wrote " + overrun;
}

void placeThreads(const dim3& size) {
  int t = 0;
  for (unsigned z = 0; z < size.z; ++z) {
    for (unsigned y = 0; y < size.y; ++y) {
      for (unsigned x = 0; x < size.x; ++x) threadPlaces[t++] = {x, y, z};
    }
  }
  block.threads = t;
  block.warps = (t + warpSize - 1) / warpSize;
}

// After a failure fibers stand in the middle of threads.
void restartFibers() {
  idleFibers.clear();
  for (const auto& fiber : fibers) {
    fiber->restart();
    idleFibers.push_back(fiber.get());
  }
  block.readyWarps = 0;
}

}  // namespace

// ---- for kernels ------------------------------------------------------------------------------------------

void failThread(int status, const char* pattern, ...) {
  char text[2048];
  va_list arguments;
  va_start(arguments, pattern);
  vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  abandonBlock(static_cast<cudaError_t>(status), describeThread() + ": " + text);
}

void synchronizeBlock(const Site& site) {
  if (block.atBarrier == 0) {
    block.barrierFirst = currentThread;
  } else if (const Thread& first = threads[block.barrierFirst]; !sameSite(first.site, site)) {
    failThread(cudaErrorLaunchFailure,
               "comes to __syncthreads at %s while thread %s waits at another one, %s",
               describe(site).c_str(), describe(threadPlaces[block.barrierFirst]).c_str(),
               describe(first.site).c_str());
  }
  warps[currentThread / warpSize].atBarrier |= 1u << currentThread % warpSize;
  threads[currentThread].site = site;
  if (++block.atBarrier == block.live) releaseBarrier();
  suspend("__syncthreads", site);
}

void meetLanes(const char* name, unsigned mask, void* lane, Complete complete, const Site& site) {
  const int w = currentThread / warpSize, self = currentThread % warpSize;
  Warp& warp = warps[w];
  const auto fail = [&](const std::string& why) {
    failThread(cudaErrorLaunchFailure, "%s (%s) with mask 0x%08x: %s", name, describe(site).c_str(), mask,
               why.c_str());
  };
  if (!(mask >> self & 1)) fail(format("the mask does not name the calling lane %d", self));
  if (mask & ~warp.all) fail("the mask names lanes that do not exist: " + describeLanes(mask & ~warp.all));
  if (mask & warp.exited) fail("the mask names lanes that have exited: " + describeLanes(mask & warp.exited));

  Meeting* meeting = nullptr;
  for (int i = 0; i < warp.meetings; ++i) {
    Meeting& other = warp.meeting[i];
    if (other.mask == mask) {
      meeting = &other;
    } else if ((other.mask >> self & 1) && (other.arrived & mask)) {
      fail(format("lanes %s wait for this one at %s (%s) with another mask, 0x%08x",
                  describeLanes(other.arrived).c_str(), other.name, describe(other.site).c_str(),
                  other.mask));
    }
  }
  if (meeting == nullptr) {
    meeting = &warp.meeting[warp.meetings++];
    *meeting = {mask, 0, name, complete, site, {}};
  } else if (strcmp(meeting->name, name) != 0 || !sameSite(meeting->site, site)) {
    fail(format("lanes %s wait for this one at %s (%s)", describeLanes(meeting->arrived).c_str(),
                meeting->name, describe(meeting->site).c_str()));
  }
  meeting->lanes[self] = lane;
  meeting->arrived |= 1u << self;
  if (meeting->arrived == mask) {
    complete(mask, meeting->lanes);
    if (meeting != &warp.meeting[--warp.meetings]) *meeting = warp.meeting[warp.meetings];
    makeReady(w, mask);
  }
  suspend(name, site);
}

// ---- for the runtime --------------------------------------------------------------------------------------

bool inKernel() { return block.kernel != nullptr; }

std::string describeThread() { return describeBlock() + ", thread " + describe(threadIdx); }

bool isStackOverflow(const void* address) { return threads[currentThread].fiber->isOverflow(address); }

void runGrid(const Kernel& kernel) {
  block.kernel = &kernel;
  block.failed = false;
  gridDim = kernel.grid;
  blockDim = kernel.block;
  placeThreads(kernel.block);
  {
    const FaultHandlers handlers;
    // Counting up by a step that has no divisor in common with the number of blocks comes to every block
    // once.
    const uint64_t blocks = uint64_t{kernel.grid.x} * kernel.grid.y * kernel.grid.z;
    uint64_t step = 1 + randomBits() % blocks;
    while (std::gcd(step, blocks) != 1) ++step;
    uint64_t number = randomBits() % blocks;
    for (uint64_t i = 0; i < blocks && !block.failed; ++i) {
      blockIdx.x = static_cast<unsigned>(number % kernel.grid.x);
      blockIdx.y = static_cast<unsigned>(number / kernel.grid.x % kernel.grid.y);
      blockIdx.z = static_cast<unsigned>(number / kernel.grid.x / kernel.grid.y);
      runBlock(kernel);
      number = (number + step) % blocks;
    }
  }
  block.kernel = nullptr;
  if (block.failed) {
    restartFibers();
    setStickyError(block.status, block.message);
  } else if (const std::string overrun = findOverrun(); !overrun.empty()) {
    setStickyError(cudaErrorIllegalAddress,
                   "kernel " + functionName(kernel.function) + ": a thread wrote " + overrun);
  }
}

}  // namespace cuda_host
