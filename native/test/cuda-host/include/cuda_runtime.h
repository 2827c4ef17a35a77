// Test infrastructure: stands in for NVIDIA's header of this name where native/src/cuda is compiled for the
// CPU with SRALIGN_CUDA_HOST (see ../README.md). Only what those sources use exists here.
#pragma once

#ifndef SRALIGN_CUDA_HOST
#error "This cuda_runtime.h is for test builds with SRALIGN_CUDA_HOST; a CUDA build must find NVIDIA's."
#endif

#include "cuda_host/api.h"
#include "cuda_host/block.h"
#include "cuda_host/launch.h"
#include "cuda_host/math.h"
#include "cuda_host/types.h"
#include "cuda_host/warp.h"
