#include "context.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace sralign::cuda {

namespace {

std::string mebibytes(size_t bytes) { return std::to_string((bytes + (size_t{1} << 20) - 1) >> 20) + " MiB"; }

std::string freeOnDevice() {
  size_t freeBytes = 0, totalBytes = 0;
  if (cudaMemGetInfo(&freeBytes, &totalBytes) != cudaSuccess) return "how much the GPU has left is not known";
  return mebibytes(freeBytes) + " of the GPU's " + mebibytes(totalBytes) + " are free";
}

}  // namespace

void check(cudaError_t status, const char* operation) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // reported here, so it must not show up again at the next call
  if (status == cudaErrorMemoryAllocation) {
    throw OutOfMemoryError(std::string("out of memory in the GPU operation \"") + operation + "\"; " +
                           freeOnDevice());
  }
  throw EngineError("ERR_CUDA", std::string("the GPU operation \"") + operation +
                                    "\", or one queued before it, failed: " + cudaGetErrorString(status));
}

// ---- pinned memory -------------------------------------------------------------------------------------

// A copy from ordinary memory would first wait for everything queued, so data goes through pinned memory.
// Copies fill the pieces of a ring one behind the other; a piece is filled again once the copies out of it
// have run.
struct Context::Staging {
  static constexpr size_t kPieces = 8;
  static constexpr size_t kPieceBytes = size_t{2} << 20;
  static constexpr size_t kAlignment = 256;

  char* data = nullptr;
  cudaEvent_t copied[kPieces] = {};
  size_t piece = 0, used = 0;

  Staging() = default;
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    for (cudaEvent_t event : copied) {
      if (event != nullptr) cudaEventDestroy(event);
    }
    if (data != nullptr) cudaFreeHost(data);
  }

  void reserve() {
    check(cudaMallocHost(reinterpret_cast<void**>(&data), kPieces * kPieceBytes),
          "reserve pinned host memory");
    for (cudaEvent_t& event : copied) {
      check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "create an event");
    }
  }

  void nextPiece(cudaStream_t stream) {
    check(cudaEventRecord(copied[piece], stream), "copy to the GPU");
    piece = (piece + 1) % kPieces;
    used = 0;
    check(cudaEventSynchronize(copied[piece]), "copy to the GPU");  // at once for a piece never used
  }
};

// ---- construction --------------------------------------------------------------------------------------

Context::Context(int device) : device_(device) {
  makeCurrent();
  check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device), "query the GPU");
  staging_ = std::make_unique<Staging>();
  staging_->reserve();
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "create a stream");
  // The pool would give freed memory back to the system whenever somebody waits; a step asks for it again at
  // once.
  check(cudaDeviceGetDefaultMemPool(&pool_, device), "find the GPU's memory pool");
  uint64_t kept = UINT64_MAX;
  check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &kept),
        "set up the GPU's memory pool");
}

Context::~Context() {
  cudaSetDevice(device_);
  for (const Buffer& buffer : buffers_) release(buffer.data, buffer.bytes);
  cudaStreamSynchronize(stream_);
  cudaMemPoolTrimTo(pool_, 0);  // the pool outlives this: what nobody uses goes back to the system
  matmul_.reset();
  staging_.reset();
  cudaStreamDestroy(stream_);
}

void Context::makeCurrent() const { check(cudaSetDevice(device_), "select the GPU"); }

// ---- memory --------------------------------------------------------------------------------------------

void* Context::allocate(size_t bytes) {
  void* data = nullptr;
  cudaError_t status = cudaMallocAsync(&data, bytes, stream_);
  if (status == cudaErrorMemoryAllocation) {
    // What the pool keeps may be in pieces that are too small.
    cudaGetLastError();
    synchronize();
    check(cudaMemPoolTrimTo(pool_, 0), "give memory back");
    status = cudaMallocAsync(&data, bytes, stream_);
  }
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw OutOfMemoryError("out of GPU memory: " + mebibytes(bytes) + " were asked for, this process uses " +
                           mebibytes(allocatedBytes_) + ", and " + freeOnDevice());
  }
  check(status, "allocate memory");
  allocatedBytes_ += bytes;
  return data;
}

void Context::release(void* data, size_t bytes) noexcept {
  if (data == nullptr) return;
  cudaFreeAsync(data, stream_);
  allocatedBytes_ -= bytes;
}

// Ragged batches ask for a little more again and again, so a buffer that is too small grows by half at least.
void* Context::scratch(ScratchSlot slot, size_t bytes) {
  Buffer& buffer = buffers_[static_cast<int>(slot)];
  if (kExactSizes ? buffer.bytes == bytes : buffer.bytes >= bytes) return buffer.data;
  const size_t grown = kExactSizes ? bytes : std::max(bytes, buffer.bytes + buffer.bytes / 2);
  release(buffer.data, buffer.bytes);
  buffer = {};
  try {
    buffer.data = allocate(grown);
    buffer.bytes = grown;
  } catch (const OutOfMemoryError&) {
    if (grown == bytes) throw;
    buffer.data = allocate(bytes);
    buffer.bytes = bytes;
  }
  return buffer.data;
}

Workspace Context::scratchInUse() const {
  Workspace workspace;
  for (const Buffer& buffer : buffers_) {
    workspace.bytes += buffer.bytes;
    workspace.largestBytes = std::max(workspace.largestBytes, buffer.bytes);
  }
  return workspace;
}

// ---- copies --------------------------------------------------------------------------------------------

void Context::copyFromHost(void* device, const void* host, size_t bytes) {
  Staging& staging = *staging_;
  auto* target = static_cast<char*>(device);
  const auto* source = static_cast<const char*>(host);
  while (bytes > 0) {
    if (staging.used == Staging::kPieceBytes) staging.nextPiece(stream_);
    char* pinned = staging.data + staging.piece * Staging::kPieceBytes + staging.used;
    const size_t part = std::min(bytes, Staging::kPieceBytes - staging.used);
    std::memcpy(pinned, source, part);
    check(cudaMemcpyAsync(target, pinned, part, cudaMemcpyHostToDevice, stream_), "copy to the GPU");
    // The size of a piece is a multiple of the alignment, so this ends at its end at the latest.
    staging.used += (part + Staging::kAlignment - 1) / Staging::kAlignment * Staging::kAlignment;
    target += part;
    source += part;
    bytes -= part;
  }
}

// Into ordinary memory: the caller waits anyway, and CUDA has pinned memory of its own for it.
void Context::copyToHost(void* host, const void* device, size_t bytes) {
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_), "copy from the GPU");
  synchronize();
}

void Context::synchronize() { check(cudaStreamSynchronize(stream_), "wait for the GPU"); }

}  // namespace sralign::cuda
