// The middle of the control channel, a thread in the process of rank 0: gathers what the ranks exchange,
// watches them, and decides alone when and why the job has failed.
#pragma once

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "join.h"
#include "turn.h"

namespace sralign::comm {

// How long a rank may say nothing, and, while it is watched, do nothing. Ranks wait a little longer for the
// hub than it waits for them, so that it is the hub that tells.
constexpr auto kSilenceLimit = std::chrono::seconds(10);
constexpr auto kHubSilenceLimit = std::chrono::seconds(12);
constexpr auto kStuckLimit = std::chrono::seconds(20);
// All wait for each other, and not in the same. Long, because an operation that is merely slow ends some
// time.
constexpr auto kDeadlockLimit = std::chrono::seconds(60);
constexpr int kSpokesman = 1;  // the rank that tells when the hub is lost

std::string endedText(const std::string& name);                               // without a word
std::string silentText(const std::string& name, std::chrono::seconds limit);  // not heard from

class Hub {
 public:
  // One link for every rank, that of rank 0 to the member in this process.
  explicit Hub(std::vector<Link> links);
  // Only after all ranks have said goodbye.
  ~Hub() { thread_.join(); }

 private:
  struct Peer {
    Connection connection;
    std::string name;
    Beat beat = {};          // the last one
    uint64_t busyCpuMs = 0;  // when it last made progress
    Clock::time_point progressed, waitsSince;
    bool saidGoodbye = false;
    // What it exchanges with the others, from its call on until all have called.
    std::optional<uint64_t> call = {};
    SharedBytes contribution = {};
  };

  void run();
  void wait();
  void beginTurn();
  void attend(Peer& peer);
  void handle(Peer& peer, Frame& frame);
  void handleBeat(Peer& peer, const Frame& frame);
  void gatherIfComplete();
  void checkNobodyLeftEarly();
  void beat();
  void judge();
  void judgeWaits();
  void farewell();
  bool allSaidGoodbye() const;
  // Sends what is queued and reads until the others have closed, so that nothing sent is lost.
  void drain(std::chrono::milliseconds limit);
  // Nothing is printed where `text` is empty.
  [[noreturn]] void end(const std::string& text, int exitCode);

  std::vector<Peer> peers_;
  Turn turn_{2 * kBeatInterval};
  Clock::time_point nextBeat_ = turn_.now();
  // A rank whose connection closed: the reason may still be on its way from another one.
  struct Loss {
    const Peer* peer;
    std::string text;
    Clock::time_point decided;
  };
  std::optional<Loss> loss_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace sralign::comm
