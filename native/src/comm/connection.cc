#include "connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sralign::comm {

namespace {

// One turn of a loop moves at most so much through a connection, so that heartbeats of the others are not
// late.
constexpr size_t kTurnBytes = size_t{16} << 20;

#ifdef MSG_NOSIGNAL
constexpr int kSendFlags = MSG_NOSIGNAL;
#else
constexpr int kSendFlags = 0;  // Node ignores SIGPIPE
#endif

}  // namespace

void Connection::post(FrameType type, uint64_t value, const std::vector<SharedBytes>& parts) {
  Header header{kMagic, type, value, 0};
  for (const SharedBytes& part : parts) header.bytes += part->size();
  unsent_.push_back(std::make_shared<const Bytes>(&header, sizeof header));
  for (const SharedBytes& part : parts) {
    if (!part->empty()) unsent_.push_back(part);
  }
}

void Connection::post(FrameType type, uint64_t value, std::string_view payload) {
  post(type, value, {std::make_shared<const Bytes>(payload.data(), payload.size())});
}

void Connection::flush() {
  size_t turn = 0;
  while (!unsent_.empty() && turn < kTurnBytes) {
    const Bytes& first = *unsent_.front();
    const size_t size = std::min(first.size() - sentOfFirst_, kTurnBytes);
    const ssize_t sent = send(socket_.descriptor(), first.data() + sentOfFirst_, size, kSendFlags);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) unsent_.clear(), sentOfFirst_ = 0;
      return;
    }
    turn += sent;
    sentOfFirst_ += sent;
    if (sentOfFirst_ == first.size()) unsent_.pop_front(), sentOfFirst_ = 0;
  }
}

void Connection::closeSending() { shutdown(socket_.descriptor(), SHUT_WR); }

bool Connection::startPayload() {
  if (header_.magic != kMagic || header_.bytes > maxPayloadBytes_) return false;
  frame_ = {header_.type, header_.value, Bytes(header_.bytes)};
  payloadFilled_ = 0;
  return true;
}

bool Connection::receive(std::vector<Frame>& frames, size_t most) {
  for (size_t turn = 0; turn < kTurnBytes && most > 0;) {
    const bool inHeader = headerFilled_ < sizeof(Header);
    uint8_t* const target = inHeader ? reinterpret_cast<uint8_t*>(&header_) + headerFilled_
                                     : frame_.payload.data() + payloadFilled_;
    const size_t size = inHeader ? sizeof(Header) - headerFilled_ : frame_.payload.size() - payloadFilled_;
    const ssize_t got = recv(socket_.descriptor(), target, std::min(size, kTurnBytes), 0);
    if (got == 0) return false;
    if (got < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
    turn += got;
    heard_ = Clock::now();
    (inHeader ? headerFilled_ : payloadFilled_) += got;
    if (inHeader && headerFilled_ == sizeof(Header) && !startPayload()) return false;
    if (isComplete()) {
      frames.push_back(std::move(frame_));
      frame_ = {};
      --most;
      headerFilled_ = payloadFilled_ = 0;
    }
  }
  return true;
}

short Connection::pollEvents() const { return static_cast<short>(POLLIN | (hasUnsent() ? POLLOUT : 0)); }

}  // namespace sralign::comm
