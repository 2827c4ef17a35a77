// What one JavaScript environment (the main thread or a worker) owns: its backend and its tensors. Freed with
// it.
#pragma once

#include <napi.h>

#include <memory>
#include <utility>

#include "../core/table.h"
#include "../cpu/backend_cpu.h"

namespace sralign::addon {

struct Engine {
  std::unique_ptr<Backend> backend = std::make_unique<cpu::CpuBackend>();
  std::unique_ptr<TensorTable> table = std::make_unique<TensorTable>(*backend);

  // Only while there are no tensors.
  void use(std::unique_ptr<Backend> other) {
    table.reset();  // it returns its memory to the backend
    backend = std::move(other);
    table = std::make_unique<TensorTable>(*backend);
  }

  Napi::FunctionReference errorClass;  // NativeError of native/lib: (code, message)
};

}  // namespace sralign::addon
