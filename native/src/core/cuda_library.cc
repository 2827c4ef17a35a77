#include "cuda_library.h"

#include <dlfcn.h>

#include <filesystem>

#include "error.h"

namespace sralign {

namespace {

// The library stays open until the process ends: CUDA cannot be unloaded safely.
void* openLibrary(const std::string& path) {
  if (!std::filesystem::exists(path)) {
    throw EngineError("ERR_CUDA", "the CUDA backend is not built (" + path +
                                      " is missing); \"npm run build:cuda\" builds it");
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    throw EngineError("ERR_CUDA", "the CUDA library does not open: " + std::string(dlerror()));
  return library;
}

template <typename Function>
Function* lookUp(void* library, const std::string& path, const char* name) {
  void* address = dlsym(library, name);
  if (address == nullptr)
    throw EngineError("ERR_CUDA", path + " is no CUDA library of sralign: " + name + " is missing");
  return reinterpret_cast<Function*>(address);
}

void* openChecked(const std::string& path) {
  void* library = openLibrary(path);
  const int version =
      lookUp<decltype(sralign_cuda_library_version)>(library, path, "sralign_cuda_library_version")();
  if (version != cuda::kLibraryVersion) {
    throw EngineError("ERR_CUDA", path + " has version " + std::to_string(version) +
                                      ", but this build needs " + std::to_string(cuda::kLibraryVersion) +
                                      "; build it again");
  }
  return library;
}

}  // namespace

cuda::LibraryInfo describeCuda(const std::string& path) {
  cuda::LibraryInfo info;
  try {
    void* library = openChecked(path);
    lookUp<decltype(sralign_cuda_describe)>(library, path, "sralign_cuda_describe")(&info);
  } catch (const EngineError& error) {
    info.reason = error.what();
  }
  return info;
}

std::unique_ptr<Backend> openCuda(const std::string& path, int device) {
  void* library = openChecked(path);
  return std::unique_ptr<Backend>(
      lookUp<decltype(sralign_cuda_create)>(library, path, "sralign_cuda_create")(device));
}

}  // namespace sralign
