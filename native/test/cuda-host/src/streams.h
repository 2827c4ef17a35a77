// Test infrastructure (../README.md): streams of queued work. Nothing runs before somebody waits, and then
// the items of several streams interleave at random within what streams and events promise.
#pragma once

#include <functional>

#include "cuda_host/api.h"

namespace cuda_host {

// Puts the work at the end of the stream. Under the lock.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);
// Runs until the stream is empty. Under the lock; returns the sticky error, if any.
cudaError_t finishStream(cudaStream_t stream);
cudaError_t finishAll();
void dropQueuedWork();

}  // namespace cuda_host
