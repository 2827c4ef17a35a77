// Collective operations of the GPUs of a job, over NCCL (collectives.cu). NCCL's header stays out of here, so
// that only one file needs it.
#pragma once

#include <memory>

#include "../comm/collectives.h"
#include "context.h"

namespace sralign::cuda {

// A new id by which the ranks of one communicator find each other: kNcclIdBytes of library.h. The process
// that asks for it has to be one of them. Throws EngineError (ERR_COMMUNICATION).
void createNcclId(char* id);

// Waits until all `size` ranks have called it with the same id, each for a GPU of its own. The context must
// outlive the object. Throws EngineError (ERR_COMMUNICATION, ERR_CUDA), OutOfMemoryError.
std::unique_ptr<Collectives> openNccl(Context& context, int rank, int size, const char* id);

}  // namespace sralign::cuda
