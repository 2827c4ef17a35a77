// Test infrastructure (../README.md): turns what the processor or a sanitizer finds in a kernel into the
// kernel's error.
#pragma once

#include <signal.h>

namespace cuda_host {

// While one lives, a fault of the calling thread inside a kernel ends the kernel. Faults of others go where
// they went before. What AddressSanitizer finds ends the process; the thread of the kernel is printed below
// its report.
class FaultHandlers {
 public:
  FaultHandlers();
  ~FaultHandlers();
  FaultHandlers(const FaultHandlers&) = delete;
  FaultHandlers& operator=(const FaultHandlers&) = delete;

 private:
  stack_t previousStack_;
};

}  // namespace cuda_host
