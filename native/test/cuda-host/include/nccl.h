// Test infrastructure: stands in for NVIDIA's header of this name where native/src/cuda is compiled for the CPU with
// SRALIGN_CUDA_HOST (see ../README.md). Only what those sources use exists here. Ranks are processes of this machine.
#pragma once

#ifndef SRALIGN_CUDA_HOST
#error "This nccl.h is for test builds with SRALIGN_CUDA_HOST; a CUDA build must find NVIDIA's."
#endif

#include <cstddef>

#include "cuda_host/api.h"

// NOLINTBEGIN: the names are NCCL's
constexpr int NCCL_UNIQUE_ID_BYTES = 128;
struct ncclUniqueId {
  char internal[NCCL_UNIQUE_ID_BYTES];
};
struct ncclHostCommunicator;
using ncclComm_t = ncclHostCommunicator*;

enum ncclResult_t {
  ncclSuccess = 0,
  ncclUnhandledCudaError = 1,
  ncclSystemError = 2,
  ncclInternalError = 3,
  ncclInvalidArgument = 4,
  ncclInvalidUsage = 5,
  ncclRemoteError = 6,
};
enum ncclDataType_t { ncclUint8 = 1, ncclFloat32 = 7 };
enum ncclRedOp_t { ncclSum = 0 };

const char* ncclGetErrorString(ncclResult_t);
const char* ncclGetLastError(ncclComm_t);

ncclResult_t ncclGetUniqueId(ncclUniqueId*);
ncclResult_t ncclCommInitRank(ncclComm_t*, int size, ncclUniqueId, int rank);
ncclResult_t ncclCommDestroy(ncclComm_t);
ncclResult_t ncclCommAbort(ncclComm_t);
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error);

ncclResult_t ncclAllGather(const void* send, void* receive, size_t sendCount, ncclDataType_t, ncclComm_t,
                           cudaStream_t);
ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t receiveCount, ncclDataType_t, ncclRedOp_t,
                               ncclComm_t, cudaStream_t);
ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t, ncclRedOp_t, ncclComm_t,
                           cudaStream_t);
ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t, int root, ncclComm_t,
                           cudaStream_t);
// NOLINTEND
