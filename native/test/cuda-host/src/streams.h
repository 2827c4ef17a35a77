// Test infrastructure (../README.md): streams of queued work. Nothing runs before somebody waits, and then
// the items of several streams interleave at random within what streams and events promise.
#pragma once

#include <functional>

#include "cuda_host/api.h"

namespace cuda_host {

// Puts the work at the end of the stream. Under the lock.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);
// The same of work that is done piece by piece, each call a piece: work of other streams runs between them.
enum class Piece { last, further, waits };  // waits: nothing can be done before another process gets on
cudaError_t enqueuePieces(cudaStream_t stream, std::function<Piece()> work);
// Runs an item, or a piece of one, drawn at random. False where nothing can run before other processes get on. Under the
// lock.
bool runOne();
// Runs until the stream is empty. Under the lock; returns the sticky error, if any.
cudaError_t finishStream(cudaStream_t stream);
cudaError_t finishAll();
void dropQueuedWork();

}  // namespace cuda_host
