#include "socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "../core/error.h"

namespace sralign::comm {

namespace {

// A host that drops packets must not use up the time that the other candidates need.
constexpr auto kConnectLimit = std::chrono::seconds(3);
constexpr int kBacklog = 1024;

// Where the system can, so that there is no moment in which another thread's child process could inherit a
// socket: it would keep the connection open after this process has died.
#ifdef SOCK_CLOEXEC
constexpr int kCloseOnExec = SOCK_CLOEXEC;
int acceptDescriptor(int listener) { return accept4(listener, nullptr, nullptr, SOCK_CLOEXEC); }
#else
constexpr int kCloseOnExec = 0;
int acceptDescriptor(int listener) { return accept(listener, nullptr, nullptr); }
#endif

EngineError failure(const std::string& what) {
  return {"ERR_COMMUNICATION", what + ": " + std::strerror(errno)};
}

void setOption(const Socket& socket, int level, int option, int value) {
  setsockopt(socket.descriptor(), level, option, &value, sizeof value);
}

Socket prepared(Socket socket) {
  if (!socket) return socket;
  fcntl(socket.descriptor(), F_SETFL, fcntl(socket.descriptor(), F_GETFL) | O_NONBLOCK);
  fcntl(socket.descriptor(), F_SETFD, FD_CLOEXEC);
  return socket;
}

Socket tcpSocket(int family) { return prepared(Socket(::socket(family, SOCK_STREAM | kCloseOnExec, 0))); }

bool bindTo(const Socket& socket, int family, int port, Reach reach) {
  setOption(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  if (family == AF_INET6) {
    setOption(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = reach == Reach::host ? in6addr_loopback : in6addr_any;
    address.sin6_port = htons(static_cast<uint16_t>(port));
    return bind(socket.descriptor(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(reach == Reach::host ? INADDR_LOOPBACK : INADDR_ANY);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return bind(socket.descriptor(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

int portOf(const Socket& socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (getsockname(socket.descriptor(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    throw failure("the port of a socket cannot be read");
  }
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(address).sin_port);
}

// The kernel may choose for a local connection the very port it is to reach; with nobody listening the socket
// is then connected to itself.
bool reachedItself(const Socket& socket) {
  sockaddr_storage own{}, peer{};
  socklen_t ownLength = sizeof own, peerLength = sizeof peer;
  return getsockname(socket.descriptor(), reinterpret_cast<sockaddr*>(&own), &ownLength) == 0 &&
         getpeername(socket.descriptor(), reinterpret_cast<sockaddr*>(&peer), &peerLength) == 0 &&
         ownLength == peerLength && std::memcmp(&own, &peer, ownLength) == 0;
}

// 0 or an errno.
int connectSocket(const Socket& socket, const addrinfo& address, Clock::time_point deadline) {
  if (!socket) return errno;
  if (connect(socket.descriptor(), address.ai_addr, address.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd wait{socket.descriptor(), POLLOUT, 0};
  int ready;
  while ((ready = poll(&wait, 1, pollMs(deadline))) < 0 && errno == EINTR) {
  }
  if (ready == 0) return ETIMEDOUT;
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(socket.descriptor(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

}  // namespace

int pollMs(Clock::time_point time) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(time - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
}

void pollUntil(pollfd* polled, size_t count, Clock::time_point time) {
  if (poll(polled, count, pollMs(time)) < 0 && errno != EINTR) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

Socket::~Socket() {
  if (descriptor_ >= 0) close(descriptor_);
}

Listener listenOn(int port, Reach reach) {
  const bool onHost = reach == Reach::host;
  for (const int family : {onHost ? AF_INET : AF_INET6, onHost ? AF_INET6 : AF_INET}) {
    const bool last = family == (onHost ? AF_INET6 : AF_INET);
    Socket socket = tcpSocket(family);
    if (socket && bindTo(socket, family, port, reach) && listen(socket.descriptor(), kBacklog) == 0) {
      const int chosen = portOf(socket);
      return {std::move(socket), chosen};
    }
    if (last || errno == EADDRINUSE || errno == EACCES) break;  // else the host may lack that family
  }
  throw failure("port " + std::to_string(port) + " cannot be listened on");
}

Socket acceptFrom(const Listener& listener) {
  Socket socket = prepared(Socket(acceptDescriptor(listener.socket.descriptor())));
  if (socket) setOption(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  return socket;
}

Socket connectTo(const std::string& host, int port, Clock::time_point deadline, std::string& reason) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int status = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (status != 0) {
    reason = gai_strerror(status);
    return {};
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    Socket socket = tcpSocket(address->ai_family);
    int error = connectSocket(socket, *address, std::min(deadline, Clock::now() + kConnectLimit));
    if (error == 0 && reachedItself(socket)) error = ECONNREFUSED;
    if (error == 0) {
      setOption(socket, IPPROTO_TCP, TCP_NODELAY, 1);
      return socket;
    }
    reason = std::strerror(error);
  }
  return {};
}

std::pair<Socket, Socket> socketPair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | kCloseOnExec, 0, ends) != 0)
    throw failure("a socket pair cannot be made");
  return {prepared(Socket(ends[0])), prepared(Socket(ends[1]))};
}

}  // namespace sralign::comm
