// The face of the MPI library, a shared object of its own that the addon opens when a job of several ranks
// asks for MPI (comm/mpi_library.h): the addon itself runs on machines without MPI.
//
// MPI starts once in a process and serves all of its threads. All functions throw EngineError
// (ERR_COMMUNICATION).
#pragma once

#include <cstddef>
#include <string>

namespace sralign {
class Collectives;
}

namespace sralign::mpi {

// Counts up whenever comm/collectives.h or this file changes what either side assumes of the other.
constexpr int kLibraryVersion = 2;

struct World {
  int rank = 0, size = 1;
};

}  // namespace sralign::mpi

extern "C" {
int sralign_mpi_library_version();
// Starts MPI, the first time. It cannot start again after `sralign_mpi_close`.
void sralign_mpi_open(sralign::mpi::World* world);
// Gives every rank the text of rank 0.
void sralign_mpi_share_text(std::string* text);
// The caller deletes it, after waiting for everything it started.
sralign::Collectives* sralign_mpi_collectives();
// Memory that reductions keep between calls.
size_t sralign_mpi_scratch_bytes();
// Waits for all ranks and ends MPI. Does nothing where it does not run.
void sralign_mpi_close();
}
