#include "cuda_library.h"

#include "error.h"
#include "shared_library.h"

namespace sralign {

namespace {

SharedLibrary open(const std::string& path) {
  static constexpr SharedLibrary::Kind kKind = {"ERR_CUDA", "CUDA", "sralign_cuda_library_version",
                                                cuda::kLibraryVersion, "\"npm run build:cuda\" builds it"};
  return {kKind, path};
}

}  // namespace

cuda::LibraryInfo describeCuda(const std::string& path) {
  cuda::LibraryInfo info;
  try {
    open(path).function<decltype(sralign_cuda_describe)>("sralign_cuda_describe")(&info);
  } catch (const EngineError& error) {
    info.reason = error.what();
  }
  return info;
}

std::unique_ptr<Backend> openCuda(const std::string& path, int device) {
  return std::unique_ptr<Backend>(
      open(path).function<decltype(sralign_cuda_create)>("sralign_cuda_create")(device));
}

NcclId createNcclId(const std::string& path) {
  NcclId id;
  open(path).function<decltype(sralign_cuda_nccl_id)>("sralign_cuda_nccl_id")(id.data());
  return id;
}

std::unique_ptr<Collectives> openNccl(const std::string& path, Backend& backend, int rank, int size,
                                      const NcclId& id) {
  auto* create = open(path).function<decltype(sralign_cuda_collectives)>("sralign_cuda_collectives");
  return std::unique_ptr<Collectives>(create(&backend, rank, size, id.data()));
}

}  // namespace sralign
