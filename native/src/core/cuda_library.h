// Opens the CUDA library, which is built apart and only where a GPU is to be used.
#pragma once

#include <memory>
#include <string>

#include "../backend.h"
#include "../cuda/library.h"

namespace sralign {

// What the library at `path` finds on this machine; where it cannot be opened `reason` says why.
cuda::LibraryInfo describeCuda(const std::string& path);

// Throws EngineError (ERR_CUDA) where the library does not open, is of another version, or has no such
// device.
std::unique_ptr<Backend> openCuda(const std::string& path, int device);

}  // namespace sralign
