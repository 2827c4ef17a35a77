// The control channel of a job: the ranks find each other, exchange small byte strings, and end together when
// one of them fails. Apart from MPI and NCCL, which cannot do the last.
//
// A star: every rank has a connection to the hub, a thread of rank 0's process. There is one channel in a
// process, shared by its JavaScript environments; every function may be called from any thread. Only the
// addon links this: the libraries it opens (MPI, CUDA) would each have a channel of their own.
//
// A job has failed when a rank reports it, when a connection closes without goodbye, when a rank has not been
// heard from for 10 s, when one that is watched makes no progress for 20 s without waiting for others, or
// when all wait for 60 s, but not in the same. The hub then prints one line on stderr and ends the processes
// of all ranks; where the hub is lost, each ends itself and rank 1 tells.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bytes.h"

namespace sralign::control {

// The bytes of all ranks, in the order of ranks.
class Gathered {
 public:
  // `payload`: the size of every rank's bytes (u64), then all of them.
  Gathered(comm::Bytes payload, size_t worldSize);

  size_t worldSize() const { return sizes_.size(); }
  size_t bytes(size_t rank) const { return sizes_[rank]; }
  size_t offset(size_t rank) const { return offsets_[rank]; }  // in `payload`
  comm::Bytes& payload() { return payload_; }

 private:
  comm::Bytes payload_;
  std::vector<size_t> offsets_, sizes_;
};

// Those that throw, throw EngineError (ERR_COMMUNICATION), among others where the channel is not joined.

// Rank 0, before `join`: on all interfaces, or for ranks on this host alone. Port 0 stands for any free one;
// returns the port.
int listen(int port, bool onHost);

// Returns when all ranks are there. `addresses` (separated by commas, names or numbers) and `port` are rank
// 0's; rank 0 itself listens already. `host` names this rank's host in messages. Who does not know rank 0's
// `token` is refused.
void join(int rank, int worldSize, const std::string& host, const std::string& addresses, int port,
          std::chrono::milliseconds timeout, const std::string& token);

// Waits for all ranks, which must call it equally often.
Gathered exchange(const uint8_t* data, size_t bytes);

// Reports why this rank fails, and ends the processes of all ranks with `exitCode`.
[[noreturn]] void fail(const std::string& message, int exitCode);

// Whether this rank must make progress: calls of the engine and `tick`. Off at the start.
void watch(bool on);
void tick();

// A call of the engine: its start and its end are progress, and between them that the process computes.
class EngineCall {
 public:
  EngineCall();
  ~EngineCall();
  EngineCall(const EngineCall&) = delete;
};

// While one exists this rank waits for others in a collective operation and is not stuck.
class WaitingInCollective {
 public:
  WaitingInCollective();
  ~WaitingInCollective();
  WaitingInCollective(const WaitingInCollective&) = delete;
};

// The orderly end; returns when all ranks have called it. `join` is possible again then.
void leave();

}  // namespace sralign::control
