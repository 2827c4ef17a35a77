// Test infrastructure (../README.md): running a kernel. The threads of a block are fibers; which one goes on
// after a wait is drawn at random.
#pragma once

#include <string>

#include "cuda_host/launch.h"

namespace cuda_host {

// Whether a kernel runs on the calling thread.
bool inKernel();
// Such as "kernel geluKernel<float>, block (0, 0, 0), thread (17, 0, 0)".
std::string describeThread();
// Whether the running thread's stack overflowed at the address.
bool isStackOverflow(const void* address);

// Runs all blocks, one after another in random order. Sets the sticky error where something goes wrong.
void runGrid(const Kernel& kernel);

}  // namespace cuda_host
