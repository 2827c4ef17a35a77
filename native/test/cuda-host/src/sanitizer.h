// Test infrastructure (../README.md): what AddressSanitizer is told about memory, where the build has it.
#pragma once

#include <cstddef>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_host {

#ifdef __SANITIZE_ADDRESS__
constexpr bool kAddressSanitizer = true;
inline void poisonMemory(const void* data, size_t bytes) { __asan_poison_memory_region(data, bytes); }
inline void unpoisonMemory(const void* data, size_t bytes) { __asan_unpoison_memory_region(data, bytes); }
#else
constexpr bool kAddressSanitizer = false;
inline void poisonMemory(const void*, size_t) {}
inline void unpoisonMemory(const void*, size_t) {}
#endif

}  // namespace cuda_host
