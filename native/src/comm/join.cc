#include "join.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <sstream>
#include <thread>

#include "../core/error.h"
#include "printable.h"
#include "turn.h"

namespace sralign::comm {

namespace {

constexpr uint64_t kProtocolVersion = 2;
constexpr uint64_t kMaxHelloBytes = 4096;
// Those who connect and do not say who they are must not use up the files that rank 0 may open.
constexpr auto kHelloLimit = std::chrono::seconds(10);
constexpr size_t kMaxSilentGuests = 64;
constexpr size_t kMaxRefusalBytes = 4096;  // in the message of rank 0
constexpr auto kTurn = std::chrono::seconds(1);
constexpr auto kRetryPause = std::chrono::milliseconds(200);
// A rank that has reached rank 0 lets it decide how long to wait: rank 0 may have started later.
constexpr auto kWelcomeSlack = std::chrono::seconds(10);

struct Hello {
  int32_t rank, worldSize, process;
  uint32_t tokenBytes;  // the token and the host's name follow
};

std::string seconds(std::chrono::milliseconds time) {
  std::ostringstream text;
  text << time.count() / 1000.0 << " s";
  return text.str();
}

// Somebody who has connected. A port scanner stays one without a rank.
struct Guest {
  Connection connection;
  Clock::time_point arrived;
  std::optional<int> rank = {};
  std::string host = {};
};

class Admission {
 public:
  Admission(const Listener& listener, const Identity& self) : listener_(listener), self_(self) {}

  std::vector<Link> run(std::chrono::milliseconds timeout) {
    auto deadline = turn_.now() + timeout;
    while (!missing().empty()) {
      if (turn_.now() >= deadline) giveUp(timeout);
      wait(deadline);
      // Where this process was stopped, the ranks wait to be let in.
      const auto pause = turn_.begin();
      deadline += pause;
      for (Guest& guest : guests_) guest.arrived += pause;
      std::erase_if(guests_, [&](Guest& guest) { return !attend(guest); });
      accept();
    }
    return welcome();
  }

 private:
  void wait(Clock::time_point deadline) {
    std::vector<pollfd> polled{{listener_.socket.descriptor(), POLLIN, 0}};
    for (const Guest& guest : guests_) polled.push_back({guest.connection.descriptor(), POLLIN, 0});
    pollUntil(polled.data(), polled.size(), std::min(deadline, Clock::now() + kTurn));
  }

  void accept() {
    std::erase_if(guests_, [&](const Guest& guest) {
      return !guest.rank && turn_.now() - guest.arrived >= kHelloLimit;
    });
    while (Socket socket = acceptFrom(listener_)) {
      guests_.push_back({Connection(std::move(socket), kMaxHelloBytes), turn_.now()});
      if (silentGuests() > kMaxSilentGuests + self_.worldSize) dropOldestSilentGuest();
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      acceptFailure_ =
          std::string("; at times rank 0 could accept no more connections: ") + std::strerror(errno);
      if (silentGuests() > 0) return dropOldestSilentGuest();
      std::this_thread::sleep_for(kRetryPause);  // the listener stays readable
    }
  }

  size_t silentGuests() const {
    return std::count_if(guests_.begin(), guests_.end(), [](const Guest& guest) { return !guest.rank; });
  }

  // A rank among them tries again.
  void dropOldestSilentGuest() {
    guests_.erase(
        std::find_if(guests_.begin(), guests_.end(), [](const Guest& guest) { return !guest.rank; }));
  }

  // False when the guest is gone or was sent away.
  bool attend(Guest& guest) {
    std::vector<Frame> frames;
    const bool open = guest.connection.receive(frames, turn_.now());
    for (const Frame& frame : frames) {
      const std::string reason = check(guest, frame);
      if (reason.empty()) continue;
      guest.rank.reset();
      tell(guest, reason);
      return false;
    }
    return open;
  }

  // Why the guest cannot take part; empty where it can.
  std::string check(Guest& guest, const Frame& frame) {
    Hello hello{};
    if (frame.type != FrameType::hello || guest.rank) return "an unexpected message";
    if (frame.value != kProtocolVersion || frame.payload.size() < sizeof hello) {
      return refusal("a process",
                     "it speaks another version of the protocol; run the same sralign on all ranks");
    }
    std::memcpy(&hello, frame.payload.data(), sizeof hello);
    const std::string texts = frame.payload.text().substr(sizeof hello);
    const std::string token = texts.substr(0, hello.tokenBytes);
    guest.host = printableName(texts.substr(token.size()));
    const std::string name =
        nameOf(hello.rank, guest.host) + " (process " + std::to_string(hello.process) + ")";
    if (token != self_.token) return refusal(name, "it belongs to another job");
    if (hello.worldSize != self_.worldSize) {
      return refusal(name, "it was started with world size " + std::to_string(hello.worldSize) +
                               ", rank 0 with " + std::to_string(self_.worldSize));
    }
    if (hello.rank < 0 || hello.rank >= self_.worldSize) return refusal(name, "there is no such rank");
    if (hello.rank == 0 || find(hello.rank) != nullptr) {
      return refusal(name, "another process has this rank already; every rank is to be started once");
    }
    guest.rank = hello.rank;
    return "";
  }

  std::string refusal(const std::string& who, const std::string& why) {
    if (refused_.size() < kMaxRefusalBytes) refused_ += "; " + who + " was refused: " + why;
    return "rank 0 on " + self_.host + " refused " + who + ": " + why;
  }

  static void tell(Guest& guest, const std::string& reason) {
    guest.connection.post(FrameType::refused, 0, reason);
    guest.connection.flush();
  }

  Guest* find(int rank) {
    for (Guest& guest : guests_) {
      if (guest.rank == rank) return &guest;
    }
    return nullptr;
  }

  std::vector<int> missing() {
    std::vector<int> ranks;
    for (int rank = 1; rank < self_.worldSize; ++rank) {
      if (find(rank) == nullptr) ranks.push_back(rank);
    }
    return ranks;
  }

  [[noreturn]] void giveUp(std::chrono::milliseconds timeout) {
    const std::vector<int> ranks = missing();
    std::string names = ranks.size() == 1 ? "rank " : "ranks ";
    for (size_t i = 0; i < ranks.size(); ++i) names += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
    const std::string message =
        names + " of " + std::to_string(self_.worldSize) + " did not reach rank 0 on " + self_.host +
        ", port " + std::to_string(listener_.port) + ", within " + seconds(timeout) + refused_ +
        acceptFailure_ + ". Check that every rank is started and that a firewall lets the port through";
    for (Guest& guest : guests_) {
      if (guest.rank) tell(guest, message);
    }
    throw EngineError("ERR_COMMUNICATION", message);
  }

  std::vector<Link> welcome() {
    std::vector<Link> links(self_.worldSize);
    for (Guest& guest : guests_) {
      if (!guest.rank) continue;
      guest.connection.allowPayloadBytes(kMaxMessageBytes);
      guest.connection.post(FrameType::welcome, 0, self_.host);
      guest.connection.flush();
      links[*guest.rank] = {std::move(guest.connection), guest.host};
    }
    return links;
  }

  const Listener& listener_;
  const Identity& self_;
  Turn turn_{2 * kTurn};
  std::vector<Guest> guests_;
  std::string refused_, acceptFailure_;
};

void sayHello(Connection& connection, const Identity& self) {
  const Hello hello{self.rank, self.worldSize, getpid(), static_cast<uint32_t>(self.token.size())};
  std::string payload(reinterpret_cast<const char*>(&hello), sizeof hello);
  connection.post(FrameType::hello, kProtocolVersion, payload + self.token + self.host);
  connection.flush();
}

// Rank 0's answer; none where the connection ends or `deadline` comes without one.
std::optional<Frame> awaitAnswer(Connection& connection, Clock::time_point deadline) {
  std::vector<Frame> frames;
  for (;;) {
    const bool late =
        Clock::now() >= deadline;  // if this process was stopped, the answer is there nevertheless
    pollfd polled{connection.descriptor(), connection.pollEvents(), 0};
    pollUntil(&polled, 1, deadline);
    const bool open = connection.receive(frames, Clock::now(), 1);  // what follows is for the member
    if (!frames.empty()) return std::move(frames.front());
    if (!open || late) return {};
    connection.flush();
  }
}

std::vector<std::string> split(const std::string& addresses) {
  std::vector<std::string> parts;
  std::istringstream stream(addresses);
  for (std::string part; std::getline(stream, part, ',');) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

}  // namespace

std::string nameOf(int rank, const std::string& host) {
  return "rank " + std::to_string(rank) + " on " + host;
}

std::vector<Link> admitRanks(const Listener& listener, const Identity& self,
                             std::chrono::milliseconds timeout) {
  return Admission(listener, self).run(timeout);
}

Link joinRankZero(const Identity& self, const std::string& addresses, int port,
                  std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  const std::vector<std::string> candidates = split(addresses);
  std::string reason = "no address is given";
  do {
    std::string refused;
    for (const std::string& address : candidates) {
      Socket socket = connectTo(address, port, deadline, reason);
      if (!socket) continue;
      Connection connection(std::move(socket));
      sayHello(connection, self);
      std::optional<Frame> answer = awaitAnswer(connection, Clock::now() + timeout + kWelcomeSlack);
      if (!answer) {
        reason = "it accepted the connection but did not start the job";
      } else if (answer->type == FrameType::welcome) {
        return {std::move(connection), printableName(answer->payload.text())};
      } else {
        refused = printableText(answer->payload.text());
      }
    }
    // Only now: where an address stands for another machine there, another job may have answered.
    if (!refused.empty()) throw EngineError("ERR_COMMUNICATION", refused);
    std::this_thread::sleep_for(kRetryPause);
  } while (Clock::now() < deadline);
  throw EngineError("ERR_COMMUNICATION",
                    "rank " + std::to_string(self.rank) + " on " + self.host + " could not reach rank 0 at " +
                        addresses + ", port " + std::to_string(port) + ", within " + seconds(timeout) + " (" +
                        reason +
                        "). Check that rank 0 is started, that the address is that of its host "
                        "and that a firewall lets the port through");
}

}  // namespace sralign::comm
