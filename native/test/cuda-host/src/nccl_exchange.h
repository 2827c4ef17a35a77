// A collective operation of this rank while it runs: in pieces, so that the other streams of the process go on while it
// waits for the other ranks.
#pragma once

#include <nccl.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "rank_memory.h"
#include "streams.h"

struct ncclHostCommunicator {
  std::unique_ptr<cuda_host::RankMemory> memory;  // null: destroyed
  std::thread::id thread = std::this_thread::get_id();
  uint64_t operations = 0;  // queued since the start
  uint64_t finished = 0;
  ncclResult_t error = ncclSuccess;
};

namespace cuda_host {

enum Operation { allGather, reduceScatter, allReduce, broadcast };

inline size_t elementBytes(int type) { return type == ncclFloat32 ? sizeof(float) : 1; }

struct Place {
  char* data;
  size_t bytes;
  uint64_t allocation;
};

// Under deviceLock: what failed last, and how long an operation waits for the other ranks.
extern std::string lastNcclError;
extern int rankTimeoutMs;

// The operation in pieces, for a stream. `communicator` stays.
std::function<Piece()> exchange(ncclHostCommunicator& communicator, const RankCall& call, const Place& send,
                                const Place& receive);

}  // namespace cuda_host
