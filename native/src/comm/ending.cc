#include "ending.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "printable.h"
#include "socket.h"

namespace sralign::comm {

namespace {

constexpr auto kPrintPatience = std::chrono::seconds(1);
constexpr auto kReadPatience = std::chrono::milliseconds(500);
constexpr auto kReadPause = std::chrono::milliseconds(2);
constexpr size_t kPieceBytes = 512;  // what every pipe takes whole when poll(2) says that it is writable

// Waits until the other end of a pipe has read everything; elsewhere there is nothing to wait for. A launcher
// that finds this process or another rank ended may throw away what it has not read by then.
void awaitReader() {
  const auto deadline = Clock::now() + kReadPatience;
  for (int unread = 0; ioctl(STDERR_FILENO, FIONREAD, &unread) == 0 && unread > 0;) {
    if (Clock::now() >= deadline) return;
    std::this_thread::sleep_for(kReadPause);
  }
}

}  // namespace

void printFailure(const std::string& text) {
  std::string line = "sralign: " + printableText(text);
  while (line.ends_with('\n')) line.pop_back();
  line += '\n';
  // A reader that is stuck must not keep the job alive. It alone is waited for: where it takes what is
  // written, the whole line is, however late this thread is.
  const auto deadline = Clock::now() + kPrintPatience;
  for (size_t done = 0; done < line.size();) {
    pollfd ready{STDERR_FILENO, POLLOUT, 0};
    const int state = poll(&ready, 1, pollMs(deadline));
    if (state == 0) return;
    if (state < 0) continue;  // a signal
    const ssize_t written =
        write(STDERR_FILENO, line.data() + done, std::min(line.size() - done, kPieceBytes));
    if (written < 0 && errno != EINTR && errno != EAGAIN) return;
    done += std::max<ssize_t>(written, 0);
  }
  awaitReader();
}

void endProcess(int exitCode) { _exit(exitCode); }

}  // namespace sralign::comm
