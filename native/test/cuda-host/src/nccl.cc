// Test infrastructure (../README.md): NCCL, with the rules of its manual. Operations are queued on a stream
// (nccl_exchange.h). What it refuses it explains on stderr.
#include <nccl.h>

#include <unistd.h>

#include <cstring>
#include <list>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include "cuda_host/control.h"
#include "errors.h"
#include "memory.h"
#include "nccl_exchange.h"

using namespace cuda_host;

namespace {

using Communicator = ncclHostCommunicator;

std::list<Communicator> communicators;  // stay, since queued work may point at them

ncclResult_t refuseCall(ncclResult_t status, const std::string& why) {
  const std::lock_guard lock(deviceLock);
  lastNcclError = why;
  explain("NCCL: " + why);
  return status;
}

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

  if (enqueuePieces(stream, exchange(*communicator, call, from, to)) != cudaSuccess) return ncclUnhandledCudaError;
  ++communicator->operations;
  return ncclSuccess;
}

}  // namespace

namespace cuda_host {

void setRankTimeoutMs(int milliseconds) {
  const std::lock_guard lock(deviceLock);
  rankTimeoutMs = milliseconds;
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
  message = lastNcclError;
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
    auto memory = std::make_unique<RankMemory>(name, rank, size, rankTimeoutMs);
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
