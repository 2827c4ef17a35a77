// The line that says why a job failed gets to its reader, however late the thread that prints it and the reader are.
//
//   last-line   -> a line for everything that was lost; exit code 1 where there is one
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>
#include <thread>

#include "../../src/comm/ending.h"

namespace {

int looks = 0, leapAt = 0;
long leapSeconds = 0;

}  // namespace

// Takes the place of the C library's, which std::chrono::steady_clock calls: the thread does not run for 3 s before the
// look at the clock number `leapAt`.
extern "C" int clock_gettime(clockid_t clock, timespec* time) {
  const int status = static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  if (clock != CLOCK_MONOTONIC || leapAt == 0) return status;
  if (++looks == leapAt) leapSeconds = 3;
  time->tv_sec += leapSeconds;
  return status;
}

namespace {

const std::string kText(2000, 'x');  // in several pieces

struct Printed {
  std::string text;
  bool endedUnread;  // the process was gone before anybody had read
};

Printed printIn(int leap, std::chrono::milliseconds readAfter) {
  int ends[2];
  if (pipe(ends) != 0) return {};
  const pid_t process = fork();
  if (process == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]), close(ends[1]);
    leapAt = leap;
    sralign::comm::printFailure(kText);
    _exit(0);
  }
  close(ends[1]);
  std::this_thread::sleep_for(readAfter);
  const bool endedUnread = readAfter.count() > 0 && waitpid(process, nullptr, WNOHANG) == process;
  Printed printed{"", endedUnread};
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;) printed.text.append(buffer, got);
  if (!endedUnread) waitpid(process, nullptr, 0);
  close(ends[0]);
  return printed;
}

}  // namespace

int main() {
  const std::string expected = "sralign: " + kText + "\n";
  int lost = 0;
  for (int leap = 1; leap <= 10; ++leap) {
    const std::string text = printIn(leap, std::chrono::milliseconds(0)).text;
    if (text == expected) continue;
    std::printf("late at look %d at the clock: %zu of %zu bytes\n", leap, text.size(), expected.size());
    lost = 1;
  }
  // A launcher forgets what it has not read of a process that is gone.
  if (printIn(0, std::chrono::milliseconds(200)).endedUnread) {
    std::printf("the process went on before its line was read\n");
    lost = 1;
  }
  return lost;
}
