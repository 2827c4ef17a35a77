#include "mpi_library.h"

#include <mutex>
#include <optional>

#include "../core/error.h"
#include "../core/shared_library.h"

namespace sralign {

namespace {

constexpr SharedLibrary::Kind kKind = {"ERR_COMMUNICATION", "MPI", "sralign_mpi_library_version",
                                       mpi::kLibraryVersion,
                                       "\"npm run build\" builds it where mpicxx is (Debian and Ubuntu: "
                                       "\"apt-get install openmpi-bin libopenmpi-dev\")"};

std::mutex mutex;
std::optional<SharedLibrary> opened;
std::optional<mpi::World> started;

std::optional<SharedLibrary> library() {
  const std::lock_guard lock(mutex);
  return opened;
}

EngineError notOpened() { return {"ERR_COMMUNICATION", "MPI was not opened in this process"}; }

SharedLibrary requireLibrary() {
  std::optional<SharedLibrary> result = library();
  if (!result) throw notOpened();
  return *result;
}

}  // namespace

mpi::World openMpi(const std::string& path) {
  {
    const std::lock_guard lock(mutex);
    if (!opened) opened.emplace(kKind, path);
  }
  mpi::World world;
  requireLibrary().function<decltype(sralign_mpi_open)>("sralign_mpi_open")(&world);
  const std::lock_guard lock(mutex);
  started = world;
  return world;
}

mpi::World mpiWorld() {
  const std::lock_guard lock(mutex);
  if (!started) throw notOpened();
  return *started;
}

std::string shareTextOverMpi(std::string text) {
  requireLibrary().function<decltype(sralign_mpi_share_text)>("sralign_mpi_share_text")(&text);
  return text;
}

std::unique_ptr<Collectives> mpiCollectives() {
  return std::unique_ptr<Collectives>(
      requireLibrary().function<decltype(sralign_mpi_collectives)>("sralign_mpi_collectives")());
}

void closeMpi() {
  if (const auto mpi = library()) mpi->function<decltype(sralign_mpi_close)>("sralign_mpi_close")();
}

size_t mpiScratchBytes() {
  const auto mpi = library();
  return mpi ? mpi->function<decltype(sralign_mpi_scratch_bytes)>("sralign_mpi_scratch_bytes")() : 0;
}

}  // namespace sralign
