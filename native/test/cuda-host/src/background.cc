// Test infrastructure (../README.md).
#include "background.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "errors.h"
#include "streams.h"

namespace cuda_host {
namespace {

// Long enough for a program that is at work to come back first, so that what it queues meanwhile is drawn among the
// rest.
constexpr std::chrono::microseconds kQuiet{5000};
constexpr std::chrono::microseconds kPause{200};  // before other processes are asked again

int unattended = 0;

void work(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  const auto sleep = [&](std::chrono::microseconds duration) {
    std::unique_lock lock(mutex);
    stopped.wait_for(lock, stop, duration, [] { return false; });
  };
  uint64_t calls = 0;
  while (!stop.stop_requested()) {
    bool quiet = false, ran = false;
    {
      // Whoever holds the lock runs the work itself; and waiting for it could keep the process from ending.
      const std::unique_lock lock(deviceLock, std::try_to_lock);
      if (lock) {
        quiet = unattended > 0 && callCount == calls && stickyError() == cudaSuccess;
        calls = callCount;
        if (quiet) ran = runOne();
      }
    }
    if (!ran) sleep(quiet ? kPause : kQuiet);
  }
}

}  // namespace

Unattended::Unattended() {
  ++unattended;
  // Made after the state of the device, so it ends before that does.
  static const std::jthread thread(work);
}

Unattended::~Unattended() { --unattended; }

}  // namespace cuda_host
