// What one JavaScript environment (the main thread or a worker) owns: its backend and its tensors. Freed with
// it.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../comm/collectives.h"
#include "../comm/control.h"
#include "../core/table.h"
#include "../cpu/backend_cpu.h"

namespace sralign::addon {

struct Engine {  // what has to do with collectives is in collectives.cc
  std::unique_ptr<Backend> backend = std::make_unique<cpu::CpuBackend>();
  std::unique_ptr<TensorTable> table = std::make_unique<TensorTable>(*backend);
  std::string cudaLibrary;  // that the backend is of; empty on the processor

  // Where this process is one rank of several.
  std::unique_ptr<Collectives> collectives;
  int rank = 0, worldSize = 1;
  // The memory of the tensors of each operation that was started and not waited for.
  std::unordered_map<Collectives::Ticket, std::vector<std::shared_ptr<void>>> inFlight;

  ~Engine();

  // Only while there are no tensors.
  void use(std::unique_ptr<Backend> other) {
    endCollectives();
    table.reset();  // it returns its memory to the backend
    backend = std::move(other);
    table = std::make_unique<TensorTable>(*backend);
  }

  // Waits for an operation, then lets go of its memory.
  void finish(Collectives::Ticket ticket);
  // Waits for what is under way, because it reads and writes tensor memory.
  void endCollectives();
  // To be held by a call that waits for the device. A GPU works through the operations of all ranks in the
  // order of everything else: who waits for it, waits for the other ranks.
  std::optional<control::WaitingInCollective> waitingForDevice() const;

  Napi::FunctionReference errorClass;  // NativeError of native/lib: (code, message)
};

}  // namespace sralign::addon
