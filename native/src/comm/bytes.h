// A block of bytes whose memory is first touched when it is filled: to clear hundreds of megabytes in one go
// would keep a thread of the control channel from its heartbeats for seconds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace sralign::comm {

class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(size_t size) : data_(std::make_unique_for_overwrite<uint8_t[]>(size)), size_(size) {}
  Bytes(const void* source, size_t size) : Bytes(size) {
    std::copy_n(static_cast<const uint8_t*>(source), size, data_.get());
  }

  uint8_t* data() { return data_.get(); }
  const uint8_t* data() const { return data_.get(); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::string text() const { return {reinterpret_cast<const char*>(data()), size_}; }

 private:
  std::unique_ptr<uint8_t[]> data_;
  size_t size_ = 0;
};

}  // namespace sralign::comm
