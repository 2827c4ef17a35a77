// The face of the CUDA library, a shared object of its own that the addon opens when a GPU is asked for
// (core/cuda_library.h).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace sralign {
class Backend;
class Collectives;
}  // namespace sralign

namespace sralign::cuda {

// Counts up whenever backend.h, comm/collectives.h or this file changes what either side assumes of the
// other.
constexpr int kLibraryVersion = 3;

constexpr size_t kNcclIdBytes = 128;

struct DeviceInfo {
  std::string name;
  int computeMajor = 0, computeMinor = 0, multiprocessors = 0;
  size_t totalBytes = 0, freeBytes = 0;  // free: 0 where the device can't be opened
};
struct LibraryInfo {
  int driverVersion = 0, runtimeVersion = 0;  // 1000 major + 10 minor; driver 0: none
  std::vector<DeviceInfo> devices;
  std::string reason;  // why there are no devices; empty otherwise
};

}  // namespace sralign::cuda

extern "C" {
int sralign_cuda_library_version();
// Opens every device to ask for its free memory, which takes some memory of each: to inform people, not in
// training.
void sralign_cuda_describe(sralign::cuda::LibraryInfo* info);
// A backend on the device; throws EngineError (ERR_CUDA). The caller deletes it.
sralign::Backend* sralign_cuda_create(int device);
// Writes a new id of kNcclIdBytes, by which the ranks of one communicator find each other; the process that
// asks for it has to be one of them. Throws EngineError (ERR_COMMUNICATION).
void sralign_cuda_nccl_id(char* id);
// The collective operations of rank `rank` of `size` on the GPU of a backend of this library, over NCCL.
// Waits until all ranks have called it with the same id. Throws EngineError (ERR_COMMUNICATION, ERR_CUDA).
// The caller deletes it, before the backend.
sralign::Collectives* sralign_cuda_collectives(sralign::Backend* backend, int rank, int size, const char* id);
}
