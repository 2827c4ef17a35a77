// Frames over one non-blocking socket of the control channel. One thread uses a connection.
//
// A frame is a header { magic, type, value, bytes, rest } and a payload, in the byte order of the hosts (all
// little-endian). A long message is several frames; `rest` bytes of it come in later ones. What the ranks
// exchange may be long: the frames of all other types go between its frames.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bytes.h"
#include "socket.h"

namespace sralign::comm {

using SharedBytes = std::shared_ptr<const Bytes>;

enum class FrameType : uint32_t {
  // to the hub
  hello,     // value: version of the protocol; payload: Hello and the host's name
  exchange,  // value: number of the call; payload: this rank's bytes
  report,    // value: exit code; payload: why this rank fails
  gaveUp,    // value: exit code; payload: why this rank has ended without the hub
  goodbye,
  // from the hub
  welcome,   // payload: name of rank 0's host
  refused,   // payload: why
  gathered,  // value: number of the call; payload: the size of every rank's bytes (u64), then all of them
  abort,     // value: exit code
  farewell,  // all ranks have said goodbye
  // both ways, every second
  beat,  // payload: to the hub, Beat
};

// What a rank waits for the others in.
enum class Wait : uint32_t { nothing, exchange, leave, collective };

constexpr auto kBeatInterval = std::chrono::seconds(1);

// How a rank is doing.
struct Beat {
  uint64_t progress = 0;  // changes when it makes some
  uint64_t waits = 0;     // that it has begun so far
  uint64_t cpuMs = 0;     // that its process has used of the processors
  Wait wait = Wait::nothing;
  uint16_t watched = 0;
  uint16_t inCall = 0;  // whether a call of the engine is under way
};

constexpr uint64_t kMaxMessageBytes = uint64_t{16} << 30;

struct Frame {
  FrameType type{};
  uint64_t value = 0;
  Bytes payload;
};

class Connection {
 public:
  Connection() = default;
  // A longer message breaks the connection.
  explicit Connection(Socket socket, uint64_t maxPayloadBytes = UINT64_MAX)
      : socket_(std::move(socket)), maxPayloadBytes_(maxPayloadBytes) {}

  void allowPayloadBytes(uint64_t bytes) { maxPayloadBytes_ = bytes; }

  // Queues a message; `parts` behind each other are its payload and stay shared.
  void post(FrameType type, uint64_t value = 0, const std::vector<SharedBytes>& parts = {});
  void post(FrameType type, uint64_t value, std::string_view payload);

  // Sends of the queue what the socket takes. A broken connection is for `receive` to tell: what the other
  // side had said before it ended is still to be read.
  void flush();
  bool hasUnsent() const { return !sending_.empty() || !urgent_.empty() || !data_.empty(); }
  // What the ranks exchange; a frame that was begun is still sent.
  void dropUnsentData() { data_.clear(); }
  void closeSending();

  // Appends the messages that have arrived, at most `most`; false when none will follow any more. `now` is
  // when they are heard.
  bool receive(std::vector<Frame>& frames, Clock::time_point now, size_t most = SIZE_MAX);

  // What was wrong with the bytes that came: "sent ..."; empty where nothing was.
  const std::string& fault() const { return fault_; }

  // When the last bytes came.
  Clock::time_point heard() const { return heard_; }
  void countSilenceFrom(Clock::time_point now) { heard_ = now; }
  // Time in which this process did not look does not count as the other's silence.
  void forgive(Clock::duration time) { heard_ += time; }

  bool isOpen() const { return static_cast<bool>(socket_); }
  void close() { socket_ = Socket(), dropUnsent(); }
  int descriptor() const { return socket_.descriptor(); }
  // For poll(2); a closed connection is skipped there.
  short pollEvents() const;

 private:
  struct Header {
    uint32_t magic;
    FrameType type;
    uint64_t value, bytes, rest;
  };
  static constexpr uint32_t kMagic = 0x4c415253;  // "SRAL"

  struct Slice {
    SharedBytes bytes;
    size_t begin, end;
  };
  using Outgoing = std::deque<Slice>;  // a frame

  struct Incoming {  // a message
    Frame frame;
    size_t filled = 0;
  };

  bool startFrame();
  bool fail(const std::string& fault) { return fault_ = fault, false; }
  void dropUnsent() { sending_.clear(), urgent_.clear(), data_.clear(); }

  Socket socket_;
  uint64_t maxPayloadBytes_ = 0;
  Clock::time_point heard_ = Clock::now();

  std::string fault_;

  Outgoing sending_;  // it is sent to its end before the next
  std::deque<Outgoing> urgent_, data_;

  Header header_{};
  size_t headerFilled_ = 0, payloadLeft_ = 0;  // of the frame that comes
  Incoming incomingUrgent_, incomingData_;
};

}  // namespace sralign::comm
