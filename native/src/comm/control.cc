#include "control.h"

#include <cstring>
#include <memory>
#include <mutex>
#include <optional>

#include "../core/error.h"
#include "hub.h"
#include "member.h"

namespace sralign::control {

namespace {

struct Channel {
  // The threads of an object end before it: the hub outlives the member it serves.
  std::unique_ptr<comm::Hub> hub;  // of rank 0
  std::shared_ptr<comm::Member> member;
};

struct State {
  std::mutex calls;  // held through join, exchange and leave: one at a time
  std::mutex mutex;  // of what follows
  std::optional<comm::Listener> listener;
  Channel channel;
};

// Never destroyed: the threads run until the process ends.
State& state() {
  static State& state = *new State;
  return state;
}

EngineError error(const std::string& message) { return {"ERR_COMMUNICATION", message}; }

std::shared_ptr<comm::Member> joined() {
  const std::lock_guard lock(state().mutex);
  if (state().channel.member == nullptr) throw error("this process has not joined the ranks of a job");
  return state().channel.member;
}

comm::Link startHub(Channel& channel, const comm::Identity& self, const comm::Listener& listener,
                    std::chrono::milliseconds timeout) {
  auto [hubEnd, memberEnd] = comm::socketPair();  // while nobody relies on this rank yet
  std::vector<comm::Link> links = comm::admitRanks(listener, self, timeout);
  links[0] = {comm::Connection(std::move(hubEnd)), self.host};
  channel.hub = std::make_unique<comm::Hub>(std::move(links));
  return {comm::Connection(std::move(memberEnd)), self.host};
}

}  // namespace

Gathered::Gathered(comm::Bytes payload, size_t worldSize) : payload_(std::move(payload)) {
  size_t offset = worldSize * sizeof(uint64_t);
  for (size_t rank = 0; rank < worldSize; ++rank) {
    uint64_t size;
    std::memcpy(&size, payload_.data() + rank * sizeof size, sizeof size);
    offsets_.push_back(offset);
    sizes_.push_back(size);
    offset += size;
  }
}

int listen(int port, bool onHost) {
  const std::lock_guard lock(state().mutex);
  state().listener.reset();  // an earlier attempt's
  return state()
      .listener.emplace(comm::listenOn(port, onHost ? comm::Reach::host : comm::Reach::everywhere))
      .port;
}

void join(int rank, int worldSize, const std::string& host, const std::string& addresses, int port,
          std::chrono::milliseconds timeout, const std::string& token) {
  const std::lock_guard calls(state().calls);
  std::optional<comm::Listener> listener;
  {
    const std::lock_guard lock(state().mutex);
    if (state().channel.member != nullptr) throw error("this process has joined the ranks of a job already");
    listener.swap(state().listener);  // closed at the end of this call: nobody can come later
  }
  const comm::Identity self{rank, worldSize, host, token};
  if (rank == 0 && !listener) throw error("rank 0 must listen (controlListen) before it joins");
  auto wake = comm::socketPair();
  Channel channel;
  comm::Link link = rank == 0 ? startHub(channel, self, *listener, timeout)
                              : comm::joinRankZero(self, addresses, port, timeout);
  comm::activity().watched = false;
  channel.member = std::make_shared<comm::Member>(self, std::move(link), std::move(wake));
  const std::lock_guard lock(state().mutex);
  state().channel = std::move(channel);
}

Gathered exchange(const uint8_t* data, size_t bytes) {
  const std::lock_guard calls(state().calls);
  return joined()->exchange(data, bytes);
}

void fail(const std::string& message, int exitCode) {
  joined()->fail(message.empty() ? "failed" : message, exitCode);
}

void watch(bool on) {
  joined();
  comm::activity().watched = on;
}

void tick() { comm::activity().progress.fetch_add(1, std::memory_order_relaxed); }

EngineCall::EngineCall() { tick(), ++comm::activity().calls; }
EngineCall::~EngineCall() { tick(), --comm::activity().calls; }

WaitingInCollective::WaitingInCollective() { ++comm::activity().collectives, ++comm::activity().waits; }
WaitingInCollective::~WaitingInCollective() { --comm::activity().collectives; }

void leave() {
  const std::lock_guard calls(state().calls);
  joined()->leave();
  Channel channel;
  {
    const std::lock_guard lock(state().mutex);
    std::swap(channel, state().channel);
  }
}  // here the threads are waited for

}  // namespace sralign::control
