// Test infrastructure (../README.md): NCCL, with the rules of its manual. Operations are queued on a stream and run in
// pieces, so that the other streams of the process go on while one waits for the other ranks. What it refuses it
// explains on stderr.
#include <nccl.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <list>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include "background.h"
#include "cuda_host/control.h"
#include "errors.h"
#include "memory.h"
#include "rank_memory.h"
#include "streams.h"

using namespace cuda_host;

struct ncclHostCommunicator {
  std::unique_ptr<RankMemory> memory;  // null: destroyed
  std::thread::id thread = std::this_thread::get_id();
  uint64_t operations = 0;  // queued since the start
  uint64_t finished = 0;
  ncclResult_t error = ncclSuccess;
};

namespace {

using Communicator = ncclHostCommunicator;
using Clock = std::chrono::steady_clock;

enum Operation { allGather, reduceScatter, allReduce, broadcast };

std::list<Communicator> communicators;  // stay, since queued work may point at them
std::string lastError;
int timeoutMs = 60'000;

ncclResult_t refuseCall(ncclResult_t status, const std::string& why) {
  const std::lock_guard lock(deviceLock);
  lastError = why;
  explain("NCCL: " + why);
  return status;
}

size_t elementBytes(int type) { return type == ncclFloat32 ? sizeof(float) : 1; }

// ---- an operation that runs ------------------------------------------------------------------------------------

struct Place {
  char* data;
  size_t bytes;
  uint64_t allocation;
};

// One operation of this rank. Its data goes through the shared memory a piece at a time; for a reduce-scatter that is
// the part of rank 0, then that of rank 1, and so on.
class Exchange {
 public:
  Exchange(Communicator& communicator, const RankCall& call, const Place& send, const Place& receive)
      : communicator_(communicator), call_(call), send_(send), receive_(receive) {
    if (communicator.memory->size() > 1) unattended_.emplace();
  }
  // The others shall not wait for what was dropped after an error.
  ~Exchange() {
    if (!over_ && communicator_.memory != nullptr) communicator_.memory->leave();
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  Piece run() {
    if (communicator_.memory == nullptr) return Piece::last;  // aborted
    for (const Place* place : {&send_, &receive_}) {
      if (isLive(place->allocation, place->data, place->bytes)) continue;
      return fail(ncclUnhandledCudaError, "by the time it runs, its memory is no longer there: " +
                                              describeAddress(place->data));
    }
    RankMemory& memory = *communicator_.memory;
    if (!wrote_) {
      if (!memory.canWrite()) return waitForOthers();
      if (part_ == 0 && offset_ == 0) poisonOutput();
      writePiece();
      wrote_ = true;
    } else {
      if (!memory.canRead()) return waitForOthers();
      for (int rank = 0; rank < memory.size(); ++rank) {
        if (memory.callOf(rank) == call_) continue;
        return fail(ncclInvalidUsage,
                    format("at the same time rank %d is at %s", rank, memory.callOf(rank).describe().c_str()));
      }
      readPieces();
      memory.read();
      wrote_ = false;
      if (advance()) {
        ++communicator_.finished;
        over_ = true;
        return Piece::last;
      }
    }
    deadline_.reset();
    return Piece::further;
  }

 private:
  // Of what one rank gives to, or gets from, another.
  size_t partBytes() const { return call_.count * elementBytes(call_.type); }
  size_t pieceBytes() const { return std::min(partBytes() - offset_, RankMemory::kPieceBytes); }
  int rank() const { return communicator_.memory->rank(); }
  int size() const { return communicator_.memory->size(); }

  // Whoever reads the result before its time shall see it. What is sent, and may lie in the same place, stays.
  void poisonOutput() {
    for (size_t from = 0; from < receive_.bytes; from += partBytes()) {
      char* part = receive_.data + from;
      const bool sent = call_.operation == broadcast && rank() != call_.root
                            ? false
                            : part < send_.data + send_.bytes && send_.data < part + partBytes();
      if (!sent) fillPoison(part, partBytes());
    }
  }

  void writePiece() {
    RankMemory& memory = *communicator_.memory;
    if (call_.operation != broadcast || rank() == call_.root) {
      memcpy(memory.piece(), send_.data + static_cast<size_t>(part_) * partBytes() + offset_, pieceBytes());
    }
    memory.write(call_);
  }

  void readPieces() {
    const RankMemory& memory = *communicator_.memory;
    char* target = receive_.data + offset_;
    switch (call_.operation) {
      case allGather:
        for (int from = 0; from < size(); ++from) {
          memcpy(target + static_cast<size_t>(from) * partBytes(), memory.pieceOf(from), pieceBytes());
        }
        break;
      case broadcast:
        memcpy(target, memory.pieceOf(call_.root), pieceBytes());
        break;
      case reduceScatter:
        if (part_ == rank()) sum(target);
        break;
      default:
        sum(target);
    }
  }

  // In the order of ranks.
  void sum(char* target) const {
    const auto valueOf = [&](int from, size_t i) {
      float value;
      memcpy(&value, communicator_.memory->pieceOf(from) + i * sizeof value, sizeof value);
      return value;
    };
    for (size_t i = 0; i < pieceBytes() / sizeof(float); ++i) {
      float total = valueOf(0, i);
      for (int from = 1; from < size(); ++from) total += valueOf(from, i);
      memcpy(target + i * sizeof total, &total, sizeof total);
    }
  }

  // Whether that was the last piece.
  bool advance() {
    offset_ += pieceBytes();
    if (offset_ < partBytes()) return false;
    offset_ = 0;
    return ++part_ == (call_.operation == reduceScatter ? size() : 1);
  }

  Piece waitForOthers() {
    const RankMemory& memory = *communicator_.memory;
    const int gone = memory.firstGone();
    // Asked again, since a rank that is gone now may have done its part just before.
    if (wrote_ ? memory.canRead() : memory.canWrite()) return Piece::further;
    if (gone >= 0) return fail(ncclRemoteError, format("rank %d has left the communicator", gone));
    if (!deadline_) deadline_ = Clock::now() + std::chrono::milliseconds(timeoutMs);
    if (Clock::now() < *deadline_) return Piece::waits;
    const int missing = memory.firstMissing();
    if (missing < 0) return fail(ncclRemoteError, format("another rank has stopped; waited %d ms", timeoutMs));
    const RankCall& latest = memory.callOf(missing);
    return fail(ncclRemoteError,
                format("rank %d did not come within %d ms; %s", missing, timeoutMs,
                       latest.number == 0 ? "it has begun no operation"
                                          : ("its latest was " + latest.describe()).c_str()));
  }

  Piece fail(ncclResult_t status, const std::string& why) {
    communicator_.error = status;
    lastError = format("rank %d of %d, %s: ", rank(), size(), call_.describe().c_str()) + why;
    setStickyError(cudaErrorLaunchFailure, "NCCL: " + lastError);
    return Piece::last;
  }

  Communicator& communicator_;
  const RankCall call_;
  const Place send_, receive_;
  std::optional<Unattended> unattended_;
  bool over_ = false;
  bool wrote_ = false;  // this rank's piece of the round
  int part_ = 0;
  size_t offset_ = 0;
  std::optional<Clock::time_point> deadline_;
};

// ---- checks at the call ----------------------------------------------------------------------------------------

ncclResult_t findPlace(const RankCall& call, const char* what, const void* data, size_t bytes, Place& place) {
  place = {static_cast<char*>(const_cast<void*>(data)), bytes, 0};
  const Allocation* allocation = findAllocation(data, bytes);
  if (allocation == nullptr || allocation->space != Space::device) {
    const std::string where = describeAddress(data);
    return refuseCall(ncclInvalidArgument,
                      format("%s: the %s buffer takes %zu bytes, which are not all there: %s", call.name(), what,
                             bytes, where.empty() ? "no device memory" : where.c_str()));
  }
  place.allocation = allocation->number;
  if (reinterpret_cast<uintptr_t>(data) % elementBytes(call.type) != 0) {
    return refuseCall(ncclInvalidArgument, format("%s: the %s buffer is not aligned to its type", call.name(), what));
  }
  return ncclSuccess;
}

// Buffers are apart, or in the one place where NCCL works in place.
ncclResult_t checkOverlap(const RankCall& call, const Place& send, const Place& receive, int rank) {
  const bool apart =
      send.data + send.bytes <= receive.data || receive.data + receive.bytes <= send.data;
  const size_t own = static_cast<size_t>(rank) * call.count * elementBytes(call.type);
  const char* allowed = call.operation == reduceScatter ? send.data + own : send.data;
  const char* found = call.operation == allGather ? receive.data + own : receive.data;
  if (apart || allowed == found) return ncclSuccess;
  return refuseCall(ncclInvalidUsage,
                    format("%s: the buffers overlap, and not as in-place operation demands of rank %d", call.name(),
                           rank));
}

ncclResult_t start(Communicator* communicator, RankCall call, const void* send, void* receive, cudaStream_t stream) {
  const std::lock_guard lock(deviceLock);
  ++callCount;
  if (communicator == nullptr || communicator->memory == nullptr) {
    return refuseCall(ncclInvalidArgument, format("%s: no communicator", call.name()));
  }
  if (stickyError() != cudaSuccess) {
    communicator->memory->leave();
    return ncclUnhandledCudaError;
  }
  const RankMemory& memory = *communicator->memory;
  if (communicator->thread != std::this_thread::get_id()) {
    return refuseCall(ncclInvalidUsage, format("%s: from another thread than the communicator's", call.name()));
  }
  if (call.root < 0 || call.root >= memory.size()) {
    return refuseCall(ncclInvalidArgument, format("%s: no rank %d", call.name(), call.root));
  }
  const bool sums = call.operation == reduceScatter || call.operation == allReduce;
  if (call.type != ncclFloat32 && (call.type != ncclUint8 || sums)) {
    return refuseCall(ncclInvalidArgument, format("%s: a type that is not known here", call.name()));
  }
  call.number = communicator->operations + 1;
  const size_t bytes = call.count * elementBytes(call.type), allBytes = bytes * static_cast<size_t>(memory.size());
  Place from{}, to{};
  ncclResult_t status =
      findPlace(call, "send", send, call.operation == reduceScatter ? allBytes : bytes, from);
  if (status == ncclSuccess) {
    status = findPlace(call, "receive", receive, call.operation == allGather ? allBytes : bytes, to);
  }
  if (status == ncclSuccess) status = checkOverlap(call, from, to, memory.rank());
  if (status != ncclSuccess) return status;

  const auto exchange = std::make_shared<Exchange>(*communicator, call, from, to);
  if (enqueuePieces(stream, [exchange] { return exchange->run(); }) != cudaSuccess) return ncclUnhandledCudaError;
  ++communicator->operations;
  return ncclSuccess;
}

}  // namespace

namespace cuda_host {

const char* RankCall::name() const {
  constexpr const char* kNames[] = {"ncclAllGather", "ncclReduceScatter", "ncclAllReduce", "ncclBroadcast"};
  return kNames[operation];
}

std::string RankCall::describe() const {
  const std::string text =
      format("operation %lu, %s of %lu %s", number, name(), count, type == ncclFloat32 ? "float32" : "uint8");
  return operation == broadcast ? text + format(" from rank %d", root) : text;
}

void setRankTimeoutMs(int milliseconds) {
  const std::lock_guard lock(deviceLock);
  timeoutMs = milliseconds;
}

}  // namespace cuda_host

// ---- communicators ---------------------------------------------------------------------------------------------

const char* ncclGetErrorString(ncclResult_t status) {
  switch (status) {
    case ncclSuccess:
      return "no error";
    case ncclUnhandledCudaError:
      return "unhandled cuda error";
    case ncclSystemError:
      return "unhandled system error";
    case ncclInternalError:
      return "internal error";
    case ncclInvalidArgument:
      return "invalid argument";
    case ncclInvalidUsage:
      return "invalid usage";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
  }
  return "unknown result code";
}

// A copy for the caller: work in the background may fail meanwhile.
const char* ncclGetLastError(ncclComm_t) {
  thread_local std::string message;
  const std::lock_guard lock(deviceLock);
  message = lastError;
  return message.c_str();
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  *id = {};
  std::random_device random;
  const std::string name = format("sralign-cuda-host-%d-%08x%08x", getpid(), random(), random());
  memcpy(id->internal, name.c_str(), name.size());
  return ncclSuccess;
}

// Not under the lock while it waits: the device goes on.
ncclResult_t ncclCommInitRank(ncclComm_t* communicator, int size, ncclUniqueId id, int rank) {
  *communicator = nullptr;
  if (size < 1 || rank < 0 || rank >= size) {
    return refuseCall(ncclInvalidArgument, format("ncclCommInitRank: rank %d of %d", rank, size));
  }
  try {
    const std::string name(id.internal, strnlen(id.internal, sizeof id.internal));
    auto memory = std::make_unique<RankMemory>(name, rank, size, timeoutMs);
    const std::lock_guard lock(deviceLock);
    communicators.emplace_back().memory = std::move(memory);
    *communicator = &communicators.back();
    return ncclSuccess;
  } catch (const std::runtime_error& error) {
    return refuseCall(ncclSystemError, std::string("ncclCommInitRank: ") + error.what());
  }
}

ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  const std::lock_guard lock(deviceLock);
  if (communicator == nullptr || communicator->memory == nullptr) return ncclInvalidArgument;
  communicator->memory.reset();
  if (communicator->finished == communicator->operations) return ncclSuccess;
  return refuseCall(ncclInvalidUsage, "ncclCommDestroy of a communicator whose operations are not finished");
}

ncclResult_t ncclCommAbort(ncclComm_t communicator) {
  const std::lock_guard lock(deviceLock);
  if (communicator == nullptr || communicator->memory == nullptr) return ncclInvalidArgument;
  communicator->memory.reset();
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t* error) {
  const std::lock_guard lock(deviceLock);
  if (communicator == nullptr || communicator->memory == nullptr) return ncclInvalidArgument;
  *error = communicator->error;
  return ncclSuccess;
}

// ---- operations ------------------------------------------------------------------------------------------------

ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type,
                           ncclComm_t communicator, cudaStream_t stream) {
  return start(communicator, {0, allGather, type, 0, count}, send, receive, stream);
}

ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t,
                               ncclComm_t communicator, cudaStream_t stream) {
  return start(communicator, {0, reduceScatter, type, 0, count}, send, receive, stream);
}

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t,
                           ncclComm_t communicator, cudaStream_t stream) {
  return start(communicator, {0, allReduce, type, 0, count}, send, receive, stream);
}

ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t communicator, cudaStream_t stream) {
  return start(communicator, {0, broadcast, type, root, count}, send, receive, stream);
}
