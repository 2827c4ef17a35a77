// Collective operations over NCCL, on a communication stream beside the compute stream of the context:
//
//   compute stream         inputs written | record ready     goes on     wait(ticket): for done | ...
//   communication stream            wait for ready | operation | record done
//
// The host waits nowhere but at the end. Tensor memory is allocated and freed in the order of the compute
// stream (cudaMallocAsync): what was allocated before an operation is there by `ready`, and what is freed
// after `wait` is freed behind `done`. Memory freed before `wait` could be handed out while the operation
// uses it; the contract of comm/collectives.h forbids that.
//
// NCCL takes bytes at full speed only in multiples of 16, from addresses that are multiples of 16.
#include "collectives.h"

#include <nccl.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "library.h"

namespace sralign::cuda {

namespace {

static_assert(kNcclIdBytes == NCCL_UNIQUE_ID_BYTES);

struct DestroyStream {
  void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
};
struct DestroyEvent {
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
};
using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, DestroyStream>;
using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, DestroyEvent>;

// A communication kernel takes few multiprocessors but must start at once, or the other GPUs wait for this
// one.
Stream createStream() {
  int lowest = 0, highest = 0;
  check(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "query the GPU");
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, highest), "create a stream");
  return Stream(stream);
}

Event createEvent() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "create an event");
  return Event(event);
}

// NCCL's latest message, which names the cause where the status only names its kind.
std::string describe(ncclResult_t status) {
  const std::string message = ncclGetLastError(nullptr);
  return std::string(ncclGetErrorString(status)) + (message.empty() ? "" : " (" + message + ")");
}

[[noreturn]] void throwNccl(ncclResult_t status, const std::string& what) {
  const std::string text =
      what + " failed: " + describe(status) + "; NCCL_DEBUG=INFO in the environment shows more";
  // NCCL has no status of its own for it.
  const bool outOfMemory =
      status == ncclUnhandledCudaError && text.find("out of memory") != std::string::npos;
  if (outOfMemory) throw OutOfMemoryError("out of GPU memory: " + text);
  throw EngineError("ERR_COMMUNICATION", text);
}

class NcclCollectives final : public Collectives {
 public:
  NcclCollectives(Context& context, int rank, int size, const char* id)
      : context_(context), rank_(rank), size_(size) {
    context_.makeCurrent();
    check(cudaGetDevice(&device_), "query the GPU");
    stream_ = createStream();
    ready_ = createEvent();
    ncclUniqueId uniqueId;
    std::memcpy(uniqueId.internal, id, sizeof uniqueId.internal);
    const ncclResult_t status = ncclCommInitRank(&communicator_, size, uniqueId, rank);
    if (status != ncclSuccess) throwNccl(status, "joining the other GPUs as " + name());
  }

  ~NcclCollectives() override {
    cudaSetDevice(device_);
    if (finish()) {
      ncclCommDestroy(communicator_);
    } else {
      ncclCommAbort(communicator_);
    }
    cudaStreamSynchronize(stream_.get());
    context_.release(token_, sizeof(float));
  }

  Ticket allGather(const void* shard, void* out, size_t bytes) override {
    return start("all-gather",
                 [&] { return ncclAllGather(shard, out, bytes, ncclUint8, communicator_, stream_.get()); });
  }

  Ticket reduceScatter(const float* input, float* shard, size_t count) override {
    return start("reduce-scatter", [&] {
      return ncclReduceScatter(input, shard, count, ncclFloat32, ncclSum, communicator_, stream_.get());
    });
  }

  Ticket allReduce(float* values, size_t count) override {
    return start("all-reduce", [&] {
      return ncclAllReduce(values, values, count, ncclFloat32, ncclSum, communicator_, stream_.get());
    });
  }

  Ticket broadcast(void* data, size_t bytes, int root) override {
    return start("broadcast", [&] {
      return ncclBroadcast(data, data, bytes, ncclUint8, root, communicator_, stream_.get());
    });
  }

  // A sum of zeros: no rank has it before all have begun.
  Ticket barrier() override {
    if (token_ == nullptr) {
      context_.makeCurrent();
      token_ = static_cast<float*>(context_.allocate(sizeof(float)));
      check(cudaMemsetAsync(token_, 0, sizeof(float), context_.stream()), "barrier");
    }
    return start("barrier", [&] {
      return ncclAllReduce(token_, token_, 1, ncclFloat32, ncclSum, communicator_, stream_.get());
    });
  }

  void wait(Ticket ticket) override {
    if (ticket == 0 || ticket > last_) {
      throw EngineError("ERR_NATIVE_CALL",
                        "there is no collective operation " + std::to_string(ticket) + " to wait for");
    }
    // Before CUDA is asked for anything: after an error here it may only say that something failed.
    ncclResult_t found = ncclSuccess;
    succeed(ncclCommGetAsyncError(communicator_, &found), "a collective operation");
    succeed(found, "a collective operation");
    context_.makeCurrent();
    if (pending_.empty() || ticket < pending_.front().ticket) return;

    // Operations end in their order, so whoever waits for one has waited for those before it.
    while (pending_.front().ticket < ticket) retireFirst();
    check(cudaStreamWaitEvent(context_.stream(), pending_.front().done.get()),
          "wait for a collective operation");
    retireFirst();
  }

  // CUDA tells how long an operation took, but not when it ran.
  std::vector<CollectiveSpan> takeSpans() override { return {}; }

  bool isIdle() const override {
    cudaSetDevice(device_);
    return cudaStreamQuery(stream_.get()) != cudaErrorNotReady;
  }

 private:
  struct Pending {
    Ticket ticket;
    Event done;
  };

  // Waits for what is queued. False where it will never be done: this GPU failed, or another rank, and a
  // kernel that waits for that rank ends only with ncclCommAbort.
  bool finish() const {
    while (!failed_) {
      const cudaError_t status = cudaStreamQuery(stream_.get());
      ncclResult_t found = ncclSuccess;
      const ncclResult_t asked = ncclCommGetAsyncError(communicator_, &found);
      if (asked != ncclSuccess || found != ncclSuccess) return false;
      if (status != cudaErrorNotReady) return status == cudaSuccess;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  // `launch` queues the operation on the communication stream.
  template <typename Launch>
  Ticket start(const char* operation, Launch launch) {
    context_.makeCurrent();
    // A stream that is told to wait for an event waits for it as recorded last, so the next operation may
    // record it again at once.
    check(cudaEventRecord(ready_.get(), context_.stream()), operation);
    check(cudaStreamWaitEvent(stream_.get(), ready_.get()), operation);
    succeed(launch(), operation);
    Event done = takeEvent();
    check(cudaEventRecord(done.get(), stream_.get()), operation);
    pending_.push_back({++last_, std::move(done)});
    return last_;
  }

  Event takeEvent() {
    if (idle_.empty()) return createEvent();
    Event event = std::move(idle_.back());
    idle_.pop_back();
    return event;
  }
  void retireFirst() {
    idle_.push_back(std::move(pending_.front().done));
    pending_.pop_front();
  }

  std::string name() const { return "rank " + std::to_string(rank_) + " of " + std::to_string(size_); }
  void succeed(ncclResult_t status, const char* operation) {
    if (status == ncclSuccess) return;
    failed_ = true;
    throwNccl(status, std::string(operation) + " of the GPUs (" + name() + ")");
  }

  Context& context_;
  int rank_, size_, device_ = 0;
  Stream stream_;
  Event ready_;                  // the inputs of the operation started last are there
  std::deque<Pending> pending_;  // started and not waited for
  std::vector<Event> idle_;      // of operations that were waited for
  ncclComm_t communicator_ = nullptr;
  float* token_ = nullptr;  // what a barrier sums, made at the first one
  Ticket last_ = 0;
  bool failed_ = false;
};

}  // namespace

void createNcclId(char* id) {
  ncclUniqueId uniqueId;
  const ncclResult_t status = ncclGetUniqueId(&uniqueId);
  if (status != ncclSuccess) throwNccl(status, "opening a place for the GPUs to meet");
  std::memcpy(id, uniqueId.internal, sizeof uniqueId.internal);
}

std::unique_ptr<Collectives> openNccl(Context& context, int rank, int size, const char* id) {
  return std::make_unique<NcclCollectives>(context, rank, size, id);
}

}  // namespace sralign::cuda
