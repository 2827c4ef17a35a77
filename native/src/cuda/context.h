// What the operations of one device share: its stream, its working memory, and the way of host memory to the
// device.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "../backend.h"
#include "../core/error.h"

namespace sralign::cuda {

// Throws EngineError (ERR_CUDA) with the operation and CUDA's message where a call failed, OutOfMemoryError
// where memory did.
void check(cudaError_t status, const char* operation);

// On the host, accesses past the end are looked for: buffers have exactly the size that was asked for.
#ifdef SRALIGN_CUDA_HOST
constexpr bool kExactSizes = true;
#else
constexpr bool kExactSizes = false;
#endif

// An operation may hold several slots at once, but two users of one slot must not overlap in an operation.
enum class ScratchSlot {
  matmulWorkspace,
  bias,
  copy,
  hiddenRows,
  dHiddenRows,
  logits,
  dLogits,
  panelMaximum,
  panelTotal,
  panelMoments,
  targets,
  attentionTiles,
  attentionDescendants,
  attentionDelta,
  reduction,
  tokenOrder,
  optimizerTensors,
  optimizerChunks,
  count
};

class Matmul;  // matmul.cu: the cuBLASLt handle and its plans

// Everything an operation queues goes to one stream, so that operations follow each other without waiting for
// the host. Used by one thread at a time, which may be another one from call to call.
class Context {
 public:
  // Makes `device` the current one of the calling thread. Throws EngineError (ERR_CUDA).
  explicit Context(int device);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // CUDA's current device belongs to the thread: whatever comes from outside begins with this.
  void makeCurrent() const;
  cudaStream_t stream() const { return stream_; }
  int multiprocessors() const { return multiprocessors_; }
  Matmul& matmul();  // made at the first call

  // Device memory, 256-byte aligned, contents undefined, from CUDA's pool: freed memory is handed out again
  // in stream order, without waiting. Throws OutOfMemoryError.
  void* allocate(size_t bytes);
  // What is queued may still use the memory. Never throws, for the sake of destructors.
  void release(void* data, size_t bytes) noexcept;

  // At least `bytes` bytes of device memory, 256-byte aligned, contents undefined; valid until the next
  // request for the same slot, in stream order. Throws OutOfMemoryError.
  void* scratch(ScratchSlot slot, size_t bytes);
  template <typename T>
  T* scratchOf(ScratchSlot slot, int64_t count) {
    return static_cast<T*>(scratch(slot, static_cast<size_t>(count) * sizeof(T)));
  }
  Workspace scratchInUse() const;

  // Copies to the device in stream order, through pinned memory; `host` may change as soon as the call
  // returns.
  void copyFromHost(void* device, const void* host, size_t bytes);
  // The list in scratch memory of the slot; null for an empty one.
  template <typename T>
  const T* upload(ScratchSlot slot, const std::vector<T>& list) {
    if (list.empty()) return nullptr;
    T* device = scratchOf<T>(slot, static_cast<int64_t>(list.size()));
    copyFromHost(device, list.data(), list.size() * sizeof(T));
    return device;
  }
  // Waits for everything queued, then copies.
  void copyToHost(void* host, const void* device, size_t bytes);
  void synchronize();

 private:
  struct Buffer {
    void* data = nullptr;
    size_t bytes = 0;
  };
  struct Staging;  // pinned memory, in a ring

  int device_ = 0, multiprocessors_ = 0;
  size_t allocatedBytes_ = 0;  // scratch memory included
  cudaStream_t stream_ = nullptr;
  cudaMemPool_t pool_ = nullptr;
  Buffer buffers_[static_cast<int>(ScratchSlot::count)];
  std::unique_ptr<Staging> staging_;
  std::shared_ptr<Matmul> matmul_;  // shared, since only matmul.cu knows how to delete one
};

}  // namespace sralign::cuda
