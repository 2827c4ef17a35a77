// Opens the CUDA library, which is built apart and only where a GPU is to be used.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "../backend.h"
#include "../comm/collectives.h"
#include "../cuda/library.h"

namespace sralign {

// What the library at `path` finds on this machine; where it cannot be opened `reason` says why.
cuda::LibraryInfo describeCuda(const std::string& path);

// Throws EngineError (ERR_CUDA) where the library does not open, is of another version, or has no such
// device.
std::unique_ptr<Backend> openCuda(const std::string& path, int device);

using NcclId = std::array<char, cuda::kNcclIdBytes>;

// A new id by which the ranks of a job find each other; this process has to be one of them. Throws
// EngineError (ERR_COMMUNICATION; ERR_CUDA as above).
NcclId createNcclId(const std::string& path);
// The collectives of this rank on the GPU of `backend`, which is one of the library at `path` and outlives
// them. Waits for all ranks. Throws EngineError (ERR_COMMUNICATION, ERR_CUDA).
std::unique_ptr<Collectives> openNccl(const std::string& path, Backend& backend, int rank, int size,
                                      const NcclId& id);

}  // namespace sralign
