// One rank's end of the control channel: a thread that tells the hub every second how this process is doing,
// carries what is exchanged, and ends the process when the job has failed.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "control.h"
#include "join.h"
#include "turn.h"

namespace sralign::comm {

// What the heartbeats tell. Any thread writes it.
struct Activity {
  std::atomic<uint64_t> progress = 0;
  std::atomic<bool> watched = false;
  std::atomic<int> calls = 0;                                   // of the engine that are under way
  std::atomic<uint64_t> waits = 0;                              // begun so far
  std::atomic<int> exchanges = 0, leaves = 0, collectives = 0;  // threads that wait there
};
Activity& activity();

// While one exists a thread waits for other ranks.
class Waiting {
 public:
  explicit Waiting(std::atomic<int>& threads) : threads_(threads) { ++threads_, ++activity().waits; }
  ~Waiting() { --threads_; }
  Waiting(const Waiting&) = delete;

 private:
  std::atomic<int>& threads_;
};

class Member {
 public:
  // `link` leads to the hub; its host is rank 0's. `wake` are two ends of one connection.
  Member(const Identity& self, Link link, std::pair<Socket, Socket> wake);
  // Only after `leave`.
  ~Member() { thread_.join(); }

  // One thread at a time.
  control::Gathered exchange(const uint8_t* data, size_t bytes);
  void leave();
  [[noreturn]] void fail(const std::string& message, int exitCode);

 private:
  struct Outgoing {
    FrameType type;
    uint64_t value;
    SharedBytes payload;
  };

  void run();
  void wait();
  void takeOutgoing();
  void beat();
  void handle(Frame& frame);
  void judge(bool open);
  [[noreturn]] void endWithoutHub(const std::string& text);
  // Hands a frame to the thread.
  void send(FrameType type, uint64_t value, const void* data, size_t bytes);

  const Identity self_;
  const std::string hubName_;
  Connection connection_;
  Socket wakeReader_, wakeWriter_;
  Turn turn_{2 * kBeatInterval};
  Clock::time_point nextBeat_ = turn_.now();

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Outgoing> outgoing_;
  std::optional<Frame> gathered_;
  bool left_ = false;

  uint64_t calls_ = 0;  // of exchange
  std::thread thread_;  // last: it uses the others
};

}  // namespace sralign::comm
