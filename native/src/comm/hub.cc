#include "hub.h"

#include <algorithm>
#include <cstring>

#include "ending.h"

namespace sralign::comm {

namespace {

// Both together less than the second that mpirun gives the ranks when one has ended.
constexpr auto kReportPatience = std::chrono::milliseconds(500);
constexpr auto kAbortPatience = std::chrono::milliseconds(400);
constexpr auto kFarewellPatience = std::chrono::seconds(5);

// That a process uses while its threads only wait is far less.
constexpr uint64_t kBusyCpuMs = 1000;

const char* nameOf(Wait wait) {
  switch (wait) {
    case Wait::exchange:
      return "in an exchange";
    case Wait::leave:
      return "for all to leave";
    default:
      return "in a collective operation";
  }
}

std::string secondsText(std::chrono::seconds time) { return std::to_string(time.count()) + " s"; }

}  // namespace

std::string endedText(const std::string& name) {
  return name + " ended without a word (killed, or out of memory)";
}

std::string silentText(const std::string& name, std::chrono::seconds limit) {
  return name + " has not been heard from for " + secondsText(limit) +
         " (its host is down, the network is cut, or the process is stopped)";
}

Hub::Hub(std::vector<Link> links) {
  for (size_t rank = 0; rank < links.size(); ++rank) {
    peers_.push_back({.connection = std::move(links[rank].connection),
                      .name = nameOf(static_cast<int>(rank), links[rank].host),
                      .progressed = turn_.now(),
                      .waitsSince = turn_.now()});
    peers_.back().connection.countSilenceFrom(turn_.now());  // it may have come long before the others
  }
  thread_ = std::thread([this] {
    try {
      run();
    } catch (const std::exception& error) {  // out of memory
      end(peers_[0].name + ": the control channel failed: " + error.what(), kDetectedFailure);
    }
  });
}

void Hub::run() {
  while (!allSaidGoodbye()) {
    wait();
    beginTurn();
    for (Peer& peer : peers_) attend(peer);
    beat();
    for (Peer& peer : peers_) {
      if (peer.connection.isOpen()) peer.connection.flush();
    }
    judge();
  }
  farewell();
}

void Hub::wait() {
  std::vector<pollfd> polled;
  for (const Peer& peer : peers_) {
    polled.push_back({peer.connection.descriptor(), peer.connection.pollEvents(), 0});
  }
  pollUntil(polled.data(), polled.size(), loss_ ? std::min(nextBeat_, loss_->decided) : nextBeat_);
}

void Hub::beginTurn() {
  const auto pause = turn_.begin();
  for (Peer& peer : peers_) {
    peer.connection.forgive(pause);
    peer.progressed += pause;
    peer.waitsSince += pause;
  }
}

void Hub::attend(Peer& peer) {
  if (!peer.connection.isOpen()) return;
  std::vector<Frame> frames;
  const bool open = peer.connection.receive(frames, turn_.now());
  for (Frame& frame : frames) handle(peer, frame);
  if (open) return;
  const std::string fault = peer.connection.fault();
  if (!fault.empty()) end(peer.name + " " + fault, kDetectedFailure);
  peer.connection.close();
  if (!peer.saidGoodbye && !loss_) loss_ = {&peer, endedText(peer.name), turn_.now() + kReportPatience};
}

void Hub::handle(Peer& peer, Frame& frame) {
  switch (frame.type) {
    case FrameType::beat:
      return handleBeat(peer, frame);
    case FrameType::exchange:
      peer.call = frame.value;
      peer.contribution = std::make_shared<const Bytes>(std::move(frame.payload));
      peer.progressed = turn_.now();
      checkNobodyLeftEarly();
      return gatherIfComplete();
    case FrameType::report: {
      const int exitCode = static_cast<int>(frame.value);
      std::string text = peer.name + ": " + frame.payload.text();
      if (loss_ && loss_->peer != &peer) text += "\n(just before, " + loss_->text + ")";
      end(text, exitCode);
    }
    case FrameType::gaveUp:
      // The spokesman has told. If this process was stopped, it is heard now, together with the others.
      if (&peer - peers_.data() == kSpokesman) end("", static_cast<int>(frame.value));
      if (!loss_) loss_ = {&peer, peer.name + ": " + frame.payload.text(), turn_.now() + kReportPatience};
      return;
    case FrameType::goodbye:
      peer.saidGoodbye = true;
      return checkNobodyLeftEarly();
    default:
      end(peer.name + ": an unexpected message on the control channel", kDetectedFailure);
  }
}

void Hub::handleBeat(Peer& peer, const Frame& frame) {
  Beat beat;
  if (frame.payload.size() != sizeof beat) end(peer.name + " sent a wrong heartbeat", kDetectedFailure);
  std::memcpy(&beat, frame.payload.data(), sizeof beat);
  const auto now = turn_.now();
  if (beat.wait != peer.beat.wait || beat.waits != peer.beat.waits) peer.waitsSince = now;
  const bool computes = beat.inCall != 0 && beat.cpuMs >= peer.busyCpuMs + kBusyCpuMs;
  const bool progresses = beat.progress != peer.beat.progress || computes;
  peer.beat = beat;
  if (progresses || beat.wait != Wait::nothing || beat.watched == 0) {
    peer.busyCpuMs = beat.cpuMs;
    peer.progressed = now;
  } else if (now - peer.progressed >=
             kStuckLimit) {  // only here: without a beat nothing is known of its progress
    end(peer.name + " has made no progress for " + secondsText(kStuckLimit), kDetectedFailure);
  }
}

// The ranks' bytes go to all of them without being copied together.
void Hub::gatherIfComplete() {
  std::vector<uint64_t> sizes;
  std::vector<SharedBytes> parts{nullptr};  // the sizes
  for (const Peer& peer : peers_) {
    if (!peer.call) return;
    if (peer.call != peers_[0].call) {
      end(peer.name + ": is at exchange " + std::to_string(*peer.call) + ", rank 0 at exchange " +
              std::to_string(*peers_[0].call) + "; every rank must make the same calls",
          kDetectedFailure);
    }
    sizes.push_back(peer.contribution->size());
    parts.push_back(peer.contribution);
  }
  parts[0] = std::make_shared<const Bytes>(sizes.data(), sizes.size() * sizeof(uint64_t));
  for (Peer& peer : peers_) {
    if (peer.connection.isOpen()) peer.connection.post(FrameType::gathered, *peer.call, parts);
    peer.call.reset();
    peer.contribution.reset();
  }
}

void Hub::checkNobodyLeftEarly() {
  const auto left = std::find_if(peers_.begin(), peers_.end(), [](const Peer& p) { return p.saidGoodbye; });
  const auto waits =
      std::find_if(peers_.begin(), peers_.end(), [](const Peer& p) { return p.call.has_value(); });
  if (left == peers_.end() || waits == peers_.end()) return;
  end(left->name + ": left the job while " + waits->name +
          " waits for it; every rank must make the same calls",
      kDetectedFailure);
}

void Hub::beat() {
  if (turn_.now() < nextBeat_) return;
  nextBeat_ = turn_.now() + kBeatInterval;
  for (Peer& peer : peers_) {
    if (peer.connection.isOpen()) peer.connection.post(FrameType::beat);
  }
}

void Hub::judge() {
  const auto now = turn_.now();
  if (loss_ && now >= loss_->decided) end(loss_->text, kDetectedFailure);
  if (loss_) return;
  for (const Peer& peer : peers_) {
    if (peer.connection.isOpen() && now - peer.connection.heard() >= kSilenceLimit) {
      end(silentText(peer.name, kSilenceLimit), kDetectedFailure);
    }
  }
  judgeWaits();
}

void Hub::judgeWaits() {
  const Peer *first = &peers_[0], *other = nullptr;
  for (const Peer& peer : peers_) {
    if (peer.beat.wait == Wait::nothing || turn_.now() - peer.waitsSince < kDeadlockLimit) return;
    if (peer.beat.wait == Wait::exchange && !peer.call) return;  // it waits for bytes that are on their way
    if (other == nullptr && peer.beat.wait != first->beat.wait) other = &peer;
  }
  if (other == nullptr) return;
  end(first->name + " waits " + nameOf(first->beat.wait) + ", " + other->name + " " +
          nameOf(other->beat.wait) + ": their programs have gone different ways",
      kDetectedFailure);
}

bool Hub::allSaidGoodbye() const {
  return std::all_of(peers_.begin(), peers_.end(), [](const Peer& peer) { return peer.saidGoodbye; });
}

void Hub::farewell() {
  for (Peer& peer : peers_) {
    if (peer.connection.isOpen()) peer.connection.post(FrameType::farewell);
  }
  drain(kFarewellPatience);
}

// Closing a socket while bytes lie in it unread makes the kernel drop what the other side has not received
// yet.
void Hub::drain(std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (Clock::now() < deadline) {
    std::vector<pollfd> polled;
    for (Peer& peer : peers_) {
      if (!peer.connection.isOpen()) continue;
      std::vector<Frame> ignored;
      peer.connection.flush();
      if (!peer.connection.hasUnsent()) peer.connection.closeSending();
      if (!peer.connection.receive(ignored, Clock::now())) {
        peer.connection.close();
      } else {
        polled.push_back({peer.connection.descriptor(), peer.connection.pollEvents(), 0});
      }
    }
    if (polled.empty()) return;
    pollUntil(polled.data(), polled.size(), deadline);
  }
}

void Hub::end(const std::string& text, int exitCode) {
  // First: a launcher may kill this process as soon as another one has ended.
  if (!text.empty()) printFailure(text);
  peers_[0].connection.close();  // its member is in this process and waits for the end
  for (Peer& peer : peers_) {
    peer.connection.dropUnsentData();
    if (peer.connection.isOpen()) peer.connection.post(FrameType::abort, exitCode);
  }
  drain(kAbortPatience);
  endProcess(exitCode);
}

}  // namespace sralign::comm
