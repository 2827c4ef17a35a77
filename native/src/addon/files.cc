// What Node cannot ask of a file: a lock that dies with its process, and space before there is anything to
// write.
#include <sys/file.h>

#include <cerrno>
#ifdef __linux__
#include <fcntl.h>
#endif

#include "arguments.h"

namespace sralign::addon {

namespace {

// Calls until no signal interrupts; 0 or errno.
template <typename Function>
int uninterrupted(Function function) {
  while (function() != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

Napi::Value fileLock(Engine&, Arguments& arguments) {
  const int descriptor = static_cast<int>(arguments.integer());
  const int error = uninterrupted([&] { return flock(descriptor, LOCK_EX | LOCK_NB); });
  return Napi::Number::New(arguments.env(), error);
}

Napi::Value fileReserve(Engine&, Arguments& arguments) {
  [[maybe_unused]] const int descriptor = static_cast<int>(arguments.integer());
  [[maybe_unused]] const int64_t bytes = arguments.integer();
#ifdef __linux__
  // Not posix_fallocate, which writes all of it where the file system cannot reserve.
  const int error = uninterrupted([&] { return fallocate(descriptor, 0, 0, bytes); });
#else
  const int error = ENOTSUP;
#endif
  return Napi::Number::New(arguments.env(), error);
}

}  // namespace

const std::vector<Binding>& fileBindings() {
  static const std::vector<Binding> bindings = {{"fileLock", fileLock}, {"fileReserve", fileReserve}};
  return bindings;
}

}  // namespace sralign::addon
