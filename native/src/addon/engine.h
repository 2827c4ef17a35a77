// What one JavaScript environment (the main thread or a worker) owns: its backend and its tensors. Freed with
// it.
#pragma once

#include <napi.h>

#include "../core/table.h"
#include "../cpu/backend_cpu.h"

namespace sralign::addon {

struct Engine {
  cpu::CpuBackend backend;
  TensorTable table{backend};
  Napi::FunctionReference errorClass;  // NativeError of native/lib: (code, message)
};

}  // namespace sralign::addon
