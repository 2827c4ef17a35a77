// TCP sockets of the control channel: owned descriptors, all of them non-blocking and closed on exec.
#pragma once

#include <poll.h>

#include <chrono>
#include <string>
#include <utility>

namespace sralign::comm {

using Clock = std::chrono::steady_clock;

// Milliseconds for poll(2) until `time`; 0 where that is past.
int pollMs(Clock::time_point time);

// poll(2) until `time` at the latest. Where it fails it sleeps a little, so that a loop does not spin.
void pollUntil(pollfd* polled, size_t count, Clock::time_point time);

class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();

  explicit operator bool() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_ = -1;
};

struct Listener {
  Socket socket;
  int port = 0;
};

enum class Reach { host, everywhere };

// On all interfaces, IPv6 and IPv4 where the host has both, or on the host's own loopback address alone
// (127.0.0.1; ::1 where there is no IPv4); port 0 stands for any free one. Throws EngineError
// (ERR_COMMUNICATION).
Listener listenOn(int port, Reach reach);

// The next connection that waits; none where nobody does or `errno` says why it cannot be accepted.
Socket acceptFrom(const Listener& listener);

// To a name or an address; tries every address of a name. None where it cannot be reached until `deadline`,
// and then `reason` says why.
Socket connectTo(const std::string& host, int port, Clock::time_point deadline, std::string& reason);

// Two ends of one connection inside this process.
std::pair<Socket, Socket> socketPair();

}  // namespace sralign::comm
