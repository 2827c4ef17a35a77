#include "nccl_exchange.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>

#include "background.h"
#include "errors.h"
#include "memory.h"

namespace cuda_host {

std::string lastNcclError;
int rankTimeoutMs = 60'000;

namespace {

using Clock = std::chrono::steady_clock;

// One operation of this rank. Its data goes through the shared memory a piece at a time; for a reduce-scatter that is
// the part of rank 0, then that of rank 1, and so on.
class Exchange {
 public:
  Exchange(ncclHostCommunicator& communicator, const RankCall& call, const Place& send, const Place& receive)
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
    if (!deadline_) deadline_ = Clock::now() + std::chrono::milliseconds(rankTimeoutMs);
    if (Clock::now() < *deadline_) return Piece::waits;
    const int missing = memory.firstMissing();
    if (missing < 0) return fail(ncclRemoteError, format("another rank has stopped; waited %d ms", rankTimeoutMs));
    const RankCall& latest = memory.callOf(missing);
    return fail(ncclRemoteError,
                format("rank %d did not come within %d ms; %s", missing, rankTimeoutMs,
                       latest.number == 0 ? "it has begun no operation"
                                          : ("its latest was " + latest.describe()).c_str()));
  }

  Piece fail(ncclResult_t status, const std::string& why) {
    communicator_.error = status;
    lastNcclError = format("rank %d of %d, %s: ", rank(), size(), call_.describe().c_str()) + why;
    setStickyError(cudaErrorLaunchFailure, "NCCL: " + lastNcclError);
    return Piece::last;
  }

  ncclHostCommunicator& communicator_;
  const RankCall call_;
  const Place send_, receive_;
  std::optional<Unattended> unattended_;
  bool over_ = false;
  bool wrote_ = false;  // this rank's piece of the round
  int part_ = 0;
  size_t offset_ = 0;
  std::optional<Clock::time_point> deadline_;
};

}  // namespace

const char* RankCall::name() const {
  constexpr const char* kNames[] = {"ncclAllGather", "ncclReduceScatter", "ncclAllReduce", "ncclBroadcast"};
  return kNames[operation];
}

std::string RankCall::describe() const {
  const std::string text =
      format("operation %lu, %s of %lu %s", number, name(), count, type == ncclFloat32 ? "float32" : "uint8");
  return operation == broadcast ? text + format(" from rank %d", root) : text;
}

std::function<Piece()> exchange(ncclHostCommunicator& communicator, const RankCall& call, const Place& send,
                                const Place& receive) {
  const auto running = std::make_shared<Exchange>(communicator, call, send, receive);
  return [running] { return running->run(); };
}

}  // namespace cuda_host
