// Collectives on host memory over MPI. Any number of them share the communication thread of the process.
#pragma once

#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "communication_thread.h"

namespace sralign::mpi {

class MpiCollectives : public Collectives {
 public:
  Ticket allGather(const void* shard, void* out, size_t bytes) override;
  Ticket reduceScatter(const float* input, float* shard, size_t count) override;
  Ticket allReduce(float* values, size_t count) override;
  Ticket broadcast(void* data, size_t bytes, int root) override;
  Ticket barrier() override;
  void wait(Ticket ticket) override;
  bool isIdle() const override;
  std::vector<CollectiveSpan> takeSpans() override;

 private:
  Ticket start(std::shared_ptr<Operation> operation);

  CommunicationThread& thread_ = CommunicationThread::instance();
  Ticket last_ = 0;
  std::unordered_map<Ticket, std::shared_ptr<Operation>> pending_;  // not waited for
  std::deque<std::shared_ptr<Operation>> untold_;                   // not taken by takeSpans
};

}  // namespace sralign::mpi
