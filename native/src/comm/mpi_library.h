// MPI for the whole process: one job, whichever of its JavaScript environments asks. Opens the MPI library,
// which is built where there is MPI.
#pragma once

#include <memory>
#include <string>

#include "../mpi/library.h"
#include "collectives.h"

namespace sralign {

// Starts MPI with the library at `path`, the first time. Without a launcher MPI makes a job of one rank.
// Throws EngineError (ERR_COMMUNICATION) where the library is missing, and after `closeMpi`.
mpi::World openMpi(const std::string& path);

// The rest needs `openMpi` and throws EngineError (ERR_COMMUNICATION) without it.

// What `openMpi` returned.
mpi::World mpiWorld();
// The text of rank 0.
std::string shareTextOverMpi(std::string text);
// On host memory.
std::unique_ptr<Collectives> mpiCollectives();

// Waits for all ranks, then ends MPI. Does nothing where it does not run.
void closeMpi();

// Memory that MPI collectives keep between calls; 0 where MPI does not run.
size_t mpiScratchBytes();

}  // namespace sralign
