#include "mpi_collectives.h"

#include <algorithm>
#include <utility>

namespace sralign::mpi {

namespace {

constexpr size_t kMostSpans = 10000;  // the oldest are forgotten where nobody takes them

}  // namespace

Collectives::Ticket MpiCollectives::start(std::shared_ptr<Operation> operation) {
  thread_.start(operation);
  pending_.emplace(++last_, operation);
  untold_.push_back(std::move(operation));
  if (untold_.size() > kMostSpans) untold_.pop_front();
  return last_;
}

Collectives::Ticket MpiCollectives::allGather(const void* shard, void* out, size_t bytes) {
  return start(makeAllGather(thread_.world(), shard, out, bytes));
}

Collectives::Ticket MpiCollectives::reduceScatter(const float* input, float* shard, size_t count) {
  return start(makeReduceScatter(thread_.world(), input, shard, count));
}

Collectives::Ticket MpiCollectives::allReduce(float* values, size_t count) {
  return start(makeAllReduce(thread_.world(), values, count));
}

Collectives::Ticket MpiCollectives::broadcast(void* data, size_t bytes, int root) {
  return start(makeBroadcast(data, bytes, root));
}

Collectives::Ticket MpiCollectives::barrier() { return start(makeBarrier()); }

void MpiCollectives::wait(Ticket ticket) {
  const auto found = pending_.find(ticket);
  if (found == pending_.end()) return;  // was waited for
  const std::shared_ptr<Operation> operation = std::move(found->second);
  pending_.erase(found);
  thread_.wait(*operation);
}

bool MpiCollectives::isIdle() const {
  return std::ranges::all_of(pending_, [&](const auto& entry) { return thread_.isDone(*entry.second); });
}

std::vector<CollectiveSpan> MpiCollectives::takeSpans() {
  std::vector<CollectiveSpan> spans;
  std::erase_if(untold_, [&](const std::shared_ptr<Operation>& operation) {
    if (!thread_.isDone(*operation)) return false;
    spans.push_back(operation->span);
    return true;
  });
  return spans;
}

}  // namespace sralign::mpi
