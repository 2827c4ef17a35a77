#include "ending.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "socket.h"

namespace sralign::comm {

namespace {

constexpr auto kPrintPatience = std::chrono::seconds(1);
constexpr size_t kPieceBytes = 512;  // what every pipe takes whole when poll(2) says that it is writable

}  // namespace

void printFailure(const std::string& text) {
  std::string line = "sralign: " + text;
  while (line.ends_with('\n')) line.pop_back();
  line += '\n';
  // A reader that is stuck must not keep the job alive.
  const auto deadline = Clock::now() + kPrintPatience;
  for (size_t done = 0; done < line.size() && Clock::now() < deadline;) {
    pollfd ready{STDERR_FILENO, POLLOUT, 0};
    if (poll(&ready, 1, pollMs(deadline)) <= 0) continue;  // a signal, or the deadline
    const ssize_t written =
        write(STDERR_FILENO, line.data() + done, std::min(line.size() - done, kPieceBytes));
    if (written < 0 && errno != EINTR && errno != EAGAIN) return;
    done += std::max<ssize_t>(written, 0);
  }
}

void endProcess(int exitCode) { _exit(exitCode); }

}  // namespace sralign::comm
