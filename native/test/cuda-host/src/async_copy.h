// Test infrastructure (../README.md): cp.async of the running block.
#pragma once

namespace cuda_host {

void beginCopies(int threads);

}  // namespace cuda_host
