#include "library.h"

#include <cstdint>

#include "mpi_collectives.h"

// The library keeps every other name to itself.
#define SRALIGN_EXPORT __attribute__((visibility("default")))

extern "C" {

SRALIGN_EXPORT int sralign_mpi_library_version() { return sralign::mpi::kLibraryVersion; }

SRALIGN_EXPORT void sralign_mpi_open(sralign::mpi::World* world) {
  *world = sralign::mpi::CommunicationThread::instance().open();
}

SRALIGN_EXPORT void sralign_mpi_share_text(std::string* text) {
  sralign::mpi::MpiCollectives collectives;
  uint64_t length = text->size();
  collectives.wait(collectives.broadcast(&length, sizeof length, 0));
  text->resize(length);
  collectives.wait(collectives.broadcast(text->data(), length, 0));
}

SRALIGN_EXPORT sralign::Collectives* sralign_mpi_collectives() { return new sralign::mpi::MpiCollectives; }

SRALIGN_EXPORT size_t sralign_mpi_scratch_bytes() {
  return sralign::mpi::CommunicationThread::instance().scratchBytes();
}

SRALIGN_EXPORT void sralign_mpi_close() { sralign::mpi::CommunicationThread::instance().close(); }
}
