// A job of three ranks in one process whose clock leaps over a pause, at the Nth look at it after the job has started, as when
// the whole machine stands still there. Every rank is well, so the job must go on: for every N, the job must not end.
//
//   pause SECONDS   -> a line for every N at which the job ended; exit code 1 where there is one
//
// What a program does between two looks at the clock takes no time for it, so these are all places where a pause can be.
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <vector>

#include "../../src/comm/hub.h"
#include "../../src/comm/member.h"

using namespace sralign::comm;

namespace {

std::atomic<bool> started = false;
std::atomic<int> looks = 0;
std::atomic<long> pauseSeconds = 0;
int leapAt = 0;
long leapSeconds = 0;

constexpr int kRanks = 3;
constexpr int kMostLooks = 60;  // several turns of the hub and of every rank

}  // namespace

// Takes the place of the C library's, which std::chrono::steady_clock calls.
extern "C" int clock_gettime(clockid_t clock, timespec* time) {
  const int status = static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  if (clock != CLOCK_MONOTONIC) return status;
  if (started && ++looks == leapAt) pauseSeconds = leapSeconds;
  time->tv_sec += pauseSeconds;
  return status;
}

namespace {

// Ends the process: with 0 where the job has outlived the pause and left in order.
[[noreturn]] void run() {
  std::vector<Link> links;
  std::vector<std::pair<Socket, Socket>> pairs, wakes;
  for (int rank = 0; rank < kRanks; ++rank) {
    pairs.push_back(socketPair());
    wakes.push_back(socketPair());
    links.push_back({Connection(std::move(pairs.back().first)), "host"});
  }
  Hub* hub = new Hub(std::move(links));
  std::vector<Member*> members;
  for (int rank = 0; rank < kRanks; ++rank) {
    members.push_back(new Member({rank, kRanks, "host", ""},
                                 {Connection(std::move(pairs[rank].second)), "host"}, std::move(wakes[rank])));
  }
  started = true;
  while (looks < leapAt) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // more turns, which the pause has made due
  std::vector<std::thread> leaving;
  for (Member* member : members) leaving.emplace_back([member] { member->leave(); });
  for (std::thread& thread : leaving) thread.join();
  delete hub;
  _exit(0);
}

}  // namespace

int main(int, char** arguments) {
  leapSeconds = std::atol(arguments[1]);
  std::vector<pid_t> jobs;
  for (leapAt = 1; leapAt <= kMostLooks; ++leapAt) {
    const pid_t job = fork();
    if (job == 0) run();
    jobs.push_back(job);
  }
  int ended = 0;
  for (int look = 1; look <= kMostLooks; ++look) {
    int status = 0;
    waitpid(jobs[look - 1], &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    std::printf("a pause of %ld s at look %d at the clock ended the job\n", leapSeconds, look);
    ended = 1;
  }
  return ended;
}
