// The control channel (comm/control.h), which the JavaScript environments of a process share.
#include "../comm/control.h"

#include <memory>

#include "arguments.h"

namespace sralign::addon {

namespace {

// port, whether on this host alone
Napi::Value controlListen(Engine&, Arguments& arguments) {
  const int port = static_cast<int>(arguments.integer());
  return Napi::Number::New(arguments.env(), control::listen(port, arguments.boolean()));
}

// rank, world size, host, addresses, port, milliseconds, token
Napi::Value controlJoin(Engine&, Arguments& arguments) {
  const int rank = static_cast<int>(arguments.integer()), worldSize = static_cast<int>(arguments.integer());
  const std::string host = arguments.text(), addresses = arguments.text();
  const int port = static_cast<int>(arguments.integer());
  const auto timeout = std::chrono::milliseconds(arguments.integer());
  control::join(rank, worldSize, host, addresses, port, timeout, arguments.text());
  return arguments.env().Undefined();
}

Napi::Value controlExchange(Engine&, Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const auto bytes = arguments.bytes();
  auto gathered = std::make_unique<control::Gathered>(control::exchange(bytes.data, bytes.count));
  // The ranks' bytes may be many: they stay where they are, and JavaScript frees them.
  comm::Bytes& payload = gathered->payload();
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(
      env, payload.data(), payload.size(), [](Napi::Env, void*, control::Gathered* owner) { delete owner; },
      gathered.get());
  const control::Gathered& parts = *gathered.release();
  Napi::Array result = Napi::Array::New(env, parts.worldSize());
  for (uint32_t rank = 0; rank < parts.worldSize(); ++rank) {
    result.Set(rank, Napi::Uint8Array::New(env, parts.bytes(rank), buffer, parts.offset(rank)));
  }
  return result;
}

// message, exit code
Napi::Value controlFail(Engine&, Arguments& arguments) {
  const std::string message = arguments.text();
  control::fail(message, static_cast<int>(arguments.integer()));
}

Napi::Value controlWatch(Engine&, Arguments& arguments) {
  control::watch(arguments.boolean());
  return arguments.env().Undefined();
}

Napi::Value controlTick(Engine&, Arguments& arguments) {
  control::tick();
  return arguments.env().Undefined();
}

Napi::Value controlLeave(Engine&, Arguments& arguments) {
  control::leave();
  return arguments.env().Undefined();
}

}  // namespace

const std::vector<Binding>& controlBindings() {
  static const std::vector<Binding> bindings = {
      {"controlListen", controlListen}, {"controlJoin", controlJoin},   {"controlExchange", controlExchange},
      {"controlFail", controlFail},     {"controlWatch", controlWatch}, {"controlTick", controlTick},
      {"controlLeave", controlLeave},
  };
  return bindings;
}

}  // namespace sralign::addon
