#include "member.h"

#include <sys/socket.h>

#include <ctime>

#include "../core/error.h"
#include "ending.h"
#include "hub.h"

namespace sralign::comm {

namespace {

constexpr auto kAbortPatience = std::chrono::seconds(5);

// Of all threads of this process.
uint64_t cpuMs() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
}

Wait waitNow() {
  const Activity& now = activity();
  if (now.exchanges > 0) return Wait::exchange;
  if (now.leaves > 0) return Wait::leave;
  return now.collectives > 0 ? Wait::collective : Wait::nothing;
}

}  // namespace

Activity& activity() {
  static Activity activity;
  return activity;
}

Member::Member(const Identity& self, Link link, std::pair<Socket, Socket> wake)
    : self_(self),
      hubName_(nameOf(0, link.host)),
      connection_(std::move(link.connection)),
      wakeReader_(std::move(wake.first)),
      wakeWriter_(std::move(wake.second)) {
  connection_.countSilenceFrom(turn_.now());
  thread_ = std::thread([this] {
    try {
      run();
    } catch (const std::exception& error) {  // out of memory
      printFailure(nameOf(self_.rank, self_.host) + ": the control channel failed: " + error.what());
      endProcess(kDetectedFailure);
    }
  });
}

control::Gathered Member::exchange(const uint8_t* data, size_t bytes) {
  if (bytes > kMaxMessageBytes) {
    throw EngineError("ERR_COMMUNICATION",
                      "at most 16 GiB can be exchanged, not " + std::to_string(bytes) + " bytes");
  }
  const Waiting waiting(activity().exchanges);
  send(FrameType::exchange, ++calls_, data, bytes);
  std::unique_lock lock(mutex_);
  arrived_.wait(lock, [&] { return gathered_.has_value(); });
  control::Gathered result{std::move(gathered_->payload), static_cast<size_t>(self_.worldSize)};
  gathered_.reset();
  return result;
}

void Member::leave() {
  const Waiting waiting(activity().leaves);
  send(FrameType::goodbye, 0, nullptr, 0);
  std::unique_lock lock(mutex_);
  arrived_.wait(lock, [&] { return left_; });
}

void Member::fail(const std::string& message, int exitCode) {
  send(FrameType::report, exitCode, message.data(), message.size());
  std::this_thread::sleep_for(kAbortPatience);  // the hub's answer ends the process before
  printFailure(nameOf(self_.rank, self_.host) + ": " + message);
  endProcess(exitCode);
}

void Member::send(FrameType type, uint64_t value, const void* data, size_t bytes) {
  auto payload = std::make_shared<const Bytes>(data, bytes);
  {
    const std::lock_guard lock(mutex_);
    outgoing_.push_back({type, value, std::move(payload)});
  }
  const char wake = 0;
  ::send(wakeWriter_.descriptor(), &wake, 1, 0);
}

void Member::run() {
  while (!left_) {
    wait();
    // Where the hub's words lay unread, its silence proves nothing.
    connection_.forgive(turn_.begin());
    takeOutgoing();
    beat();
    std::vector<Frame> frames;
    const bool open = connection_.receive(frames, turn_.now());
    for (Frame& frame : frames) handle(frame);
    if (left_) return;
    if (!open && self_.rank == 0) return;  // the hub, in this process, is ending it
    connection_.flush();
    judge(open);
  }
}

void Member::wait() {
  pollfd polled[] = {{connection_.descriptor(), connection_.pollEvents(), 0},
                     {wakeReader_.descriptor(), POLLIN, 0}};
  pollUntil(polled, 2, nextBeat_);
  char wakes[64];
  while (recv(wakeReader_.descriptor(), wakes, sizeof wakes, 0) > 0) {
  }
}

void Member::takeOutgoing() {
  std::vector<Outgoing> taken;
  {
    const std::lock_guard lock(mutex_);
    taken.swap(outgoing_);
  }
  for (Outgoing& frame : taken) connection_.post(frame.type, frame.value, {std::move(frame.payload)});
}

void Member::beat() {
  if (turn_.now() < nextBeat_) return;
  nextBeat_ = turn_.now() + kBeatInterval;
  const Activity& now = activity();
  const Beat beat{.progress = now.progress,
                  .waits = now.waits,
                  .cpuMs = cpuMs(),
                  .wait = waitNow(),
                  .watched = now.watched,
                  .inCall = now.calls > 0};
  connection_.post(FrameType::beat, 0, {reinterpret_cast<const char*>(&beat), sizeof beat});
}

void Member::handle(Frame& frame) {
  switch (frame.type) {
    case FrameType::beat:
      return;
    case FrameType::abort:
      endProcess(static_cast<int>(frame.value));
    case FrameType::gathered: {
      const std::lock_guard lock(mutex_);
      gathered_ = std::move(frame);
      return arrived_.notify_all();
    }
    case FrameType::farewell: {
      const std::lock_guard lock(mutex_);
      left_ = true;
      connection_.close();
      return arrived_.notify_all();
    }
    default:
      endWithoutHub(hubName_ + " sent an unexpected message on the control channel");
  }
}

void Member::judge(bool open) {
  const std::string& fault = connection_.fault();
  if (!open) endWithoutHub(fault.empty() ? endedText(hubName_) : hubName_ + " " + fault);
  if (self_.rank != 0 && turn_.now() - connection_.heard() >= kHubSilenceLimit) {
    endWithoutHub(silentText(hubName_, kHubSilenceLimit));
  }
}

void Member::endWithoutHub(const std::string& text) {
  if (self_.rank == kSpokesman) printFailure(text);
  // The hub's process may go on later, or only the way from there may be cut.
  connection_.post(FrameType::gaveUp, kDetectedFailure, text);
  connection_.flush();
  endProcess(kDetectedFailure);
}

}  // namespace sralign::comm
