// Test infrastructure (../README.md): names for messages.
#pragma once

#include <string>

namespace cuda_host {

// Such as "geluKernel<float>"; the address in hexadecimal where the program's symbols are stripped.
std::string functionName(const void* function);

}  // namespace cuda_host
