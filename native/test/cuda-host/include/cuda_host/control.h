// Test infrastructure (../../README.md): what tests in C++ ask of the stand-in itself.
#pragma once

#include <cstdint>
#include <string>

namespace cuda_host {

// Restarts the random numbers that order fibers, blocks and streams (at the start: SRALIGN_CUDA_HOST_SEED, or
// 1).
void setSeed(uint64_t seed);

// The latest error in full; empty where there was none since `clearError`.
std::string errorMessage();
// Forgets a sticky error, as only the end of the process does on a device, and drops the work still queued.
void clearError();
// Errors are printed to stderr unless this is off; tests of the errors themselves turn it off.
void printErrors(bool print);

// How long an operation of a communicator waits for its other ranks (at the start: a minute).
void setRankTimeoutMs(int timeoutMs);

}  // namespace cuda_host
