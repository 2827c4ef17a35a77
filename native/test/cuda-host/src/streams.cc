// Test infrastructure (../README.md).
#include "streams.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <thread>
#include <vector>

#include "errors.h"
#include "random.h"

namespace cuda_host {

// A place in a stream: just behind its item of this number, counted from 1.
struct Position {
  const cudaHostStream* stream = nullptr;
  uint64_t number = 0;
  bool reached() const;
};

struct Item {
  std::function<Piece()> work;
  std::vector<Position> after;  // beside what is before it in its own stream
};

}  // namespace cuda_host

struct cudaHostStream {
  std::deque<cuda_host::Item> items;
  uint64_t done = 0;
  bool waitsForDefault = true;  // and the default stream for it
  bool destroyed = false;

  cuda_host::Position end() const { return {this, done + items.size()}; }
};

struct cudaHostEvent {
  cuda_host::Position recorded;
  std::shared_ptr<std::chrono::steady_clock::time_point> time;
};

namespace cuda_host {

bool Position::reached() const { return stream == nullptr || stream->done >= number; }

namespace {

using Clock = std::chrono::steady_clock;

// Destroyed streams stay: events may point into them. There are few.
std::list<cudaHostStream> streams(1);  // the first is the default stream

cudaHostStream& streamOf(cudaStream_t stream) { return stream == nullptr ? streams.front() : *stream; }

std::function<Piece()> wholly(std::function<void()> work) {
  return [work = std::move(work)] {
    work();
    return Piece::last;
  };
}

bool isRunnable(const cudaHostStream& stream) {
  if (stream.items.empty()) return false;
  for (const Position& position : stream.items.front().after) {
    if (!position.reached()) return false;
  }
  return true;
}

constexpr std::chrono::microseconds kPause{200};  // before other processes are asked again

void runUntil(const Position& position) {
  while (!position.reached()) {
    if (!runOne()) std::this_thread::sleep_for(kPause);
  }
}

cudaError_t enqueueAfter(cudaStream_t handle, std::vector<Position> after, std::function<Piece()> work) {
  cudaHostStream& stream = streamOf(handle);
  if (stream.destroyed) return refuse(cudaErrorInvalidResourceHandle, "work for a stream that was destroyed");
  if (&stream == &streams.front()) {
    for (const cudaHostStream& other : streams) {
      if (&other != &stream && other.waitsForDefault) after.push_back(other.end());
    }
  } else if (stream.waitsForDefault) {
    after.push_back(streams.front().end());
  }
  stream.items.push_back({std::move(work), std::move(after)});
  return cudaSuccess;
}

}  // namespace

// Whatever waits in this process was queued after what it waits for, so while there are items one of them can run, or
// waits for other processes.
bool runOne() {
  std::vector<cudaHostStream*> runnable;
  for (cudaHostStream& stream : streams) {
    if (isRunnable(stream)) runnable.push_back(&stream);
  }
  while (!runnable.empty()) {
    const auto drawn = runnable.begin() + randomBelow(static_cast<uint32_t>(runnable.size()));
    cudaHostStream& stream = **drawn;
    const Piece piece = stream.items.front().work();
    if (piece == Piece::last) {
      stream.items.pop_front();
      ++stream.done;
    }
    if (stickyError() != cudaSuccess) {
      dropQueuedWork();
      return true;
    }
    if (piece != Piece::waits) return true;
    runnable.erase(drawn);
  }
  return false;
}

cudaError_t enqueue(cudaStream_t stream, std::function<void()> work) {
  return enqueueAfter(stream, {}, wholly(std::move(work)));
}

cudaError_t enqueuePieces(cudaStream_t stream, std::function<Piece()> work) {
  return enqueueAfter(stream, {}, std::move(work));
}

cudaError_t finishStream(cudaStream_t stream) {
  if (stream == nullptr) enqueue(stream, [] {});  // after all streams that wait for the default one, too
  runUntil(streamOf(stream).end());
  return stickyError();
}

cudaError_t finishAll() {
  for (const cudaHostStream& stream : streams) runUntil(stream.end());
  return stickyError();
}

void dropQueuedWork() {
  for (cudaHostStream& stream : streams) {
    stream.done += stream.items.size();
    stream.items.clear();
  }
}

}  // namespace cuda_host

using namespace cuda_host;

// ---- streams ----------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return guarded([&] {
    *stream = &streams.emplace_back();
    (*stream)->waitsForDefault = flags != cudaStreamNonBlocking;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

// Streams are drawn with equal chances whatever their priority: it promises nothing about order.
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* lowest, int* highest) {
  *lowest = 0;
  *highest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {  // what it holds still runs
  return guarded([&] {
    if (stream == nullptr || stream->destroyed) return refuse(cudaErrorInvalidResourceHandle, "no stream");
    stream->destroyed = true;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return guarded([&] { return finishStream(stream); });
}

// A program that asks again and again gets on, at a random pace.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return guarded([&] {
    if (randomBelow(2) == 0) runOne();
    if (stickyError() != cudaSuccess) return stickyError();
    return streamOf(stream).items.empty() ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return guarded([&] {
    if (event == nullptr) return refuse(cudaErrorInvalidResourceHandle, "no event");
    return enqueueAfter(stream, {event->recorded}, wholly([] {}));
  });
}

cudaError_t cudaDeviceSynchronize() {
  return guarded([] { return finishAll(); });
}

// ---- events -----------------------------------------------------------------------------------------------

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return guarded([&] {
    *event = new cudaHostEvent();
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return guarded([&] {
    delete event;
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return guarded([&] {
    if (event == nullptr) return refuse(cudaErrorInvalidResourceHandle, "no event");
    event->time = std::make_shared<Clock::time_point>();
    const cudaError_t status = enqueue(stream, [time = event->time] { *time = Clock::now(); });
    if (status == cudaSuccess) event->recorded = streamOf(stream).end();
    return status;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return guarded([&] {
    if (randomBelow(2) == 0) runOne();
    if (stickyError() != cudaSuccess) return stickyError();
    return event->recorded.reached() ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return guarded([&] {
    runUntil(event->recorded);
    return stickyError();
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return guarded([&] {
    if (!start->time || !end->time)
      return refuse(cudaErrorInvalidResourceHandle, "an event that was not recorded");
    if (!start->recorded.reached() || !end->recorded.reached()) return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(*end->time - *start->time).count();
    return cudaSuccess;
  });
}
