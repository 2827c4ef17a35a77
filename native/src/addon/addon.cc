// The module: puts every binding on `exports` and turns engine errors into JavaScript errors.
#include <napi.h>

#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "../comm/control.h"
#include "arguments.h"

namespace sralign::addon {

namespace {

Napi::Error nativeError(Napi::Env env, Engine& engine, const char* code, const std::string& message) {
  const Napi::String jsCode = Napi::String::New(env, code), jsMessage = Napi::String::New(env, message);
  if (engine.errorClass.IsEmpty()) return Napi::Error::New(env, message);
  return {env, engine.errorClass.New({jsCode, jsMessage})};
}

Napi::Value call(const Napi::CallbackInfo& info) {
  const control::EngineCall underWay;
  const Napi::Env env = info.Env();
  const Binding& binding = *static_cast<const Binding*>(info.Data());
  Engine& engine = *env.GetInstanceData<Engine>();
  Arguments arguments(info, *engine.table);
  const auto named = [&](const char* what) { return std::string(binding.name) + ": " + what; };
  try {
    return binding.call(engine, arguments);
  } catch (const IndexError& error) {
    Napi::RangeError jsError = Napi::RangeError::New(env, named(error.what()));
    jsError.Set("code", Napi::String::New(env, error.code));
    throw jsError;
  } catch (const EngineError& error) {
    const bool fromDevice =
        std::strcmp(error.code, "ERR_CUDA") == 0 || std::strcmp(error.code, "ERR_CUBLAS") == 0;
    const std::string shapes = fromDevice ? arguments.tensorShapes() : "";
    throw nativeError(env, engine, error.code,
                      named(error.what()) + (shapes.empty() ? "" : "; its tensors: " + shapes));
  } catch (const std::bad_alloc&) {
    throw nativeError(env, engine, "ERR_OUT_OF_MEMORY", named("out of memory"));
  } catch (const Napi::Error&) {  // JavaScript's own
    throw;
  } catch (const std::exception& error) {  // of the standard library: a thread or a path that cannot be
    throw nativeError(env, engine, "ERR_NATIVE_CALL", named(error.what()));
  }
}

void define(Napi::Env env, Napi::Object exports, const std::vector<Binding>& bindings) {
  for (const Binding& binding : bindings) {
    exports.Set(binding.name, Napi::Function::New(env, call, binding.name, const_cast<Binding*>(&binding)));
  }
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  try {
    env.SetInstanceData(new Engine);  // deleted when the environment ends
  } catch (const EngineError& error) {
    throw Napi::Error::New(env, error.what());
  }
  define(env, exports, systemBindings());
  define(env, exports, tensorBindings());
  define(env, exports, opBindings());
  define(env, exports, collectiveBindings());
  define(env, exports, controlBindings());
  define(env, exports, fileBindings());
  return exports;
}

}  // namespace

}  // namespace sralign::addon

static Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  return sralign::addon::initialize(env, exports);
}

NODE_API_MODULE(sralign_native, Initialize)
