// One collective operation while it runs. It is made on the caller's thread, run by the communication thread
// (communication_thread.h), and consists of stages: each starts MPI requests that must be complete before the
// next.
#pragma once

#define OMPI_SKIP_MPICXX 1  // the C++ bindings of Open MPI and MPICH are of no use here
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "../comm/collectives.h"
#include "library.h"

namespace sralign::mpi {

// Throws EngineError (ERR_COMMUNICATION) with MPI's text for `status`, unless it is MPI_SUCCESS.
void check(int status, const char* what);

// What the communication thread lends to the operations.
struct Context {
  MPI_Comm communicator = MPI_COMM_NULL;
  World world;
  std::unique_ptr<float[]> scratch;  // of the one reduction that runs
  size_t scratchCount = 0;
};

class Operation {
 public:
  Operation(const char* name, size_t bytes) : span{name, 0, 0, bytes} {}
  virtual ~Operation() = default;

  // Starts the next stage, once all `requests` are complete; false where the last one is over.
  virtual bool advance(Context& context) = 0;
  virtual bool usesScratch() const { return false; }

  CollectiveSpan span;
  std::vector<MPI_Request> requests;
  bool done = false;  // guarded by the communication thread, like `error`
  std::string error;  // why it failed; empty otherwise
};

std::shared_ptr<Operation> makeAllGather(const World& world, const void* shard, void* out, size_t bytes);
std::shared_ptr<Operation> makeReduceScatter(const World& world, const float* input, float* shard,
                                             size_t count);
std::shared_ptr<Operation> makeAllReduce(const World& world, float* values, size_t count);
std::shared_ptr<Operation> makeBroadcast(void* data, size_t bytes, int root);
std::shared_ptr<Operation> makeBarrier();

}  // namespace sralign::mpi
