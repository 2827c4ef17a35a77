// Frames over one non-blocking socket of the control channel. One thread uses a connection.
//
// A frame is a header { magic, type, value, bytes } and a payload, in the byte order of the hosts (all
// little-endian).
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
  report,    // value: exit code; payload: why this rank fails, empty where another process has said it
  goodbye,
  // from the hub
  welcome,   // payload: name of rank 0's host
  refused,   // payload: why
  gathered,  // value: number of the call; payload: the size of every rank's bytes (u64), then all of them
  abort,     // value: exit code
  farewell,  // all ranks have said goodbye
  // both ways, every second
  beat,  // to the hub, value: progress; payload: one byte of BeatFlags
};

enum BeatFlags : uint8_t { kBeatWaiting = 1, kBeatWatched = 2 };

struct Frame {
  FrameType type{};
  uint64_t value = 0;
  Bytes payload;
};

class Connection {
 public:
  Connection() = default;
  // A frame with a longer payload breaks the connection.
  explicit Connection(Socket socket, uint64_t maxPayloadBytes = UINT64_MAX)
      : socket_(std::move(socket)), maxPayloadBytes_(maxPayloadBytes) {}

  void allowPayloadBytes(uint64_t bytes) { maxPayloadBytes_ = bytes; }

  // Queues a frame; `parts` behind each other are its payload and stay shared.
  void post(FrameType type, uint64_t value = 0, const std::vector<SharedBytes>& parts = {});
  void post(FrameType type, uint64_t value, std::string_view payload);

  // Sends of the queue what the socket takes. A broken connection is for `receive` to tell: what the other
  // side had said before it ended is still to be read.
  void flush();
  bool hasUnsent() const { return !unsent_.empty(); }
  void closeSending();

  // Appends the frames that have arrived, at most `most`; false when none will follow any more.
  bool receive(std::vector<Frame>& frames, size_t most = SIZE_MAX);

  // When the last bytes came.
  Clock::time_point heard() const { return heard_; }
  // Time in which this process did not look does not count as the other's silence.
  void forgive(Clock::duration time) { heard_ += time; }

  bool isOpen() const { return static_cast<bool>(socket_); }
  void close() { socket_ = Socket(), unsent_.clear(); }
  int descriptor() const { return socket_.descriptor(); }
  // For poll(2); a closed connection is skipped there.
  short pollEvents() const;

 private:
  struct Header {
    uint32_t magic;
    FrameType type;
    uint64_t value, bytes;
  };
  static constexpr uint32_t kMagic = 0x4c415253;  // "SRAL"

  bool startPayload();
  bool isComplete() const {
    return headerFilled_ == sizeof(Header) && payloadFilled_ == frame_.payload.size();
  }

  Socket socket_;
  uint64_t maxPayloadBytes_ = 0;
  Clock::time_point heard_ = Clock::now();

  std::deque<SharedBytes> unsent_;
  size_t sentOfFirst_ = 0;

  Header header_{};
  size_t headerFilled_ = 0;
  Frame frame_;
  size_t payloadFilled_ = 0;
};

}  // namespace sralign::comm
