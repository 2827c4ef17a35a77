// The one thread of a process that calls MPI, from its start to its end: MPI then needs no locks of its own
// (MPI_THREAD_FUNNELED), and operations go on while the others compute. They start in the order in which they
// were handed over, the same on every rank, and several can be under way.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../core/error.h"
#include "operation.h"

namespace sralign::mpi {

class CommunicationThread {
 public:
  // Of the process. It is never destroyed: at the end of a process that did not close MPI it may still be at
  // work.
  static CommunicationThread& instance();

  World open();
  void close();
  World world() const { return context_.world; }
  size_t scratchBytes() const;

  void start(std::shared_ptr<Operation> operation);
  // Blocks; throws EngineError (ERR_COMMUNICATION) where it failed. MPI may still write to its memory then.
  void wait(Operation& operation);
  bool isDone(const Operation& operation) const;

 private:
  enum class State { unopened, open, closed };
  using Running = std::vector<std::shared_ptr<Operation>>;

  void run();
  void initialize();
  void finalize();
  bool startQueued(Running& running);
  bool progress(Running& running);
  void abandonAfterFailure(Running& running);
  bool step(Operation& operation);
  void finish(Operation& operation, const std::string& error);

  EngineError closedError() const;  // under mutex_

  std::mutex lifecycle_;  // held while MPI starts and ends
  State state_ = State::unopened;
  std::thread thread_;

  Context context_;  // belongs to the thread; `world` does not change after `open`

  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable wake_, finished_;
  std::deque<std::shared_ptr<Operation>> queue_;
  bool arrived_ = false;  // something for the thread to look at
  bool initialized_ = false, stopping_ = false;
  size_t scratchBytes_ = 0;
  std::string failure_;  // of MPI's start or of an operation: nothing works after that
};

}  // namespace sralign::mpi
