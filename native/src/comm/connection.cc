#include "connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <new>

namespace sralign::comm {

namespace {

// One turn of a loop moves at most so much through a connection, so that heartbeats of the others are not
// late.
constexpr size_t kTurnBytes = size_t{16} << 20;

// So much of a long message goes before an urgent one may.
constexpr size_t kFrameBytes = size_t{1} << 20;

bool isData(FrameType type) { return type == FrameType::exchange || type == FrameType::gathered; }

#ifdef MSG_NOSIGNAL
constexpr int kSendFlags = MSG_NOSIGNAL;
#else
constexpr int kSendFlags = 0;  // Node ignores SIGPIPE
#endif

}  // namespace

void Connection::post(FrameType type, uint64_t value, const std::vector<SharedBytes>& parts) {
  std::deque<Outgoing>& queue = isData(type) ? data_ : urgent_;
  uint64_t rest = 0;
  for (const SharedBytes& part : parts) rest += part->size();
  size_t part = 0, offset = 0;
  do {
    size_t size = std::min<uint64_t>(rest, kFrameBytes);
    rest -= size;
    const Header header{kMagic, type, value, size, rest};
    Outgoing& frame = queue.emplace_back();
    frame.push_back({std::make_shared<const Bytes>(&header, sizeof header), 0, sizeof header});
    while (size > 0) {
      const size_t taken = std::min(size, parts[part]->size() - offset);
      if (taken > 0) frame.push_back({parts[part], offset, offset + taken});
      size -= taken;
      offset += taken;
      if (offset == parts[part]->size()) ++part, offset = 0;
    }
  } while (rest > 0);
}

void Connection::post(FrameType type, uint64_t value, std::string_view payload) {
  post(type, value, {std::make_shared<const Bytes>(payload.data(), payload.size())});
}

void Connection::flush() {
  for (size_t turn = 0; turn < kTurnBytes;) {
    if (sending_.empty()) {
      std::deque<Outgoing>& queue = urgent_.empty() ? data_ : urgent_;
      if (queue.empty()) return;
      sending_ = std::move(queue.front());
      queue.pop_front();
    }
    Slice& first = sending_.front();
    const ssize_t sent =
        send(socket_.descriptor(), first.bytes->data() + first.begin, first.end - first.begin, kSendFlags);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) dropUnsent();
      return;
    }
    turn += sent;
    first.begin += sent;
    if (first.begin == first.end) sending_.pop_front();
  }
}

void Connection::closeSending() { shutdown(socket_.descriptor(), SHUT_WR); }

// False where the header makes no sense.
bool Connection::startFrame() {
  if (header_.magic != kMagic) return fail("sent what is no message of the control channel");
  Incoming& message = isData(header_.type) ? incomingData_ : incomingUrgent_;
  if (message.filled > 0) {
    const size_t left = message.frame.payload.size() - message.filled;
    if (header_.bytes > left || header_.rest != left - header_.bytes) {
      return fail("sent a message whose parts do not fit together");
    }
  } else {
    const uint64_t bytes = header_.bytes + header_.rest;
    const std::string text = "sent a message of " + std::to_string(bytes) + " bytes, ";
    if (bytes < header_.bytes || bytes > maxPayloadBytes_) {
      return fail(text + "more than the " + std::to_string(maxPayloadBytes_) + " that are allowed");
    }
    try {
      message.frame = {header_.type, header_.value, Bytes(bytes)};
    } catch (const std::bad_alloc&) {
      return fail(text + "for which there is no memory");
    }
  }
  payloadLeft_ = header_.bytes;
  return true;
}

bool Connection::receive(std::vector<Frame>& frames, Clock::time_point now, size_t most) {
  for (size_t turn = 0; turn < kTurnBytes && most > 0;) {
    const bool inHeader = headerFilled_ < sizeof(Header);
    Incoming& message = isData(header_.type) ? incomingData_ : incomingUrgent_;
    uint8_t* const target = inHeader ? reinterpret_cast<uint8_t*>(&header_) + headerFilled_
                                     : message.frame.payload.data() + message.filled;
    const size_t size = inHeader ? sizeof(Header) - headerFilled_ : std::min(payloadLeft_, kTurnBytes);
    const ssize_t got = recv(socket_.descriptor(), target, size, 0);
    if (got == 0) return false;
    if (got < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
    turn += got;
    heard_ = now;
    if (inHeader) {
      headerFilled_ += got;
      if (headerFilled_ < sizeof(Header)) continue;
      if (!startFrame()) return false;
    } else {
      message.filled += got;
      payloadLeft_ -= got;
    }
    if (payloadLeft_ > 0) continue;
    headerFilled_ = 0;
    if (header_.rest > 0) continue;
    Incoming& whole = isData(header_.type) ? incomingData_ : incomingUrgent_;
    frames.push_back(std::move(whole.frame));
    whole = {};
    --most;
  }
  return true;
}

short Connection::pollEvents() const { return static_cast<short>(POLLIN | (hasUnsent() ? POLLOUT : 0)); }

}  // namespace sralign::comm
