// Test infrastructure (../README.md).
#include "faults.h"

#include <pthread.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "block.h"
#include "cuda_host/block.h"
#include "errors.h"
#include "memory.h"
#include "sanitizer.h"
#include "shared_memory.h"

namespace cuda_host {

namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr size_t kSignalStackBytes = 256 * 1024;

struct sigaction previous[NSIG];
pthread_t kernelThread;

// Where the address is; empty where nothing is near.
std::string describe(const void* address) {
  const std::string shared = describeShared(address);
  return shared.empty() ? describeAddress(address) : shared;
}

std::string describeFault(int signal, const siginfo_t& info) {
  if (signal == SIGFPE) return "divides an integer by zero";
  if (signal == SIGILL) return "comes to an instruction the processor does not have";
  const void* address = info.si_addr;
  if (info.si_code == SI_KERNEL || (signal == SIGBUS && info.si_code == BUS_ADRALN)) {
    return "accesses memory through a misaligned or impossible pointer (uninitialised?)";
  }
  if (isStackOverflow(address)) return "overflows its stack";
  const std::string where = describe(address);
  return "accesses " + (where.empty() ? format("%p, where there is nothing", address) : where);
}

void passOn(int signal, siginfo_t* info, void* context) {
  const struct sigaction& action = previous[signal];
  if (action.sa_flags & SA_SIGINFO) {
    action.sa_sigaction(signal, info, context);
  } else if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) {
    action.sa_handler(signal);
  } else {
    sigaction(signal, &action, nullptr);  // happens again, and ends the process
  }
}

void handleFault(int signal, siginfo_t* info, void* context) {
  if (!inKernel() || !pthread_equal(pthread_self(), kernelThread)) return passOn(signal, info, context);
  // Kernels allocate nothing, so the fault did not come out of malloc, and the message may.
  failThread(cudaErrorIllegalAddress, "%s", describeFault(signal, *info).c_str());
}

#ifdef __SANITIZE_ADDRESS__
// The last words of a sanitizer that ends the process.
void printThread() {
  if (!inKernel()) return;
  const void* address = __asan_get_report_address();
  fprintf(stderr, "CUDA on the CPU: %s: %s\n", describeThread().c_str(), describe(address).c_str());
}
#endif

}  // namespace

FaultHandlers::FaultHandlers() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_set_death_callback(printThread);
#endif
  static char* const signalStack = static_cast<char*>(malloc(kSignalStackBytes));
  kernelThread = pthread_self();
  stack_t stack{};
  stack.ss_sp = signalStack;
  stack.ss_size = kSignalStackBytes;
  sigaltstack(&stack, &previousStack_);
  struct sigaction action{};
  action.sa_sigaction = handleFault;
  // Not deferred: the handler ends in another fiber, not with a return.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (const int signal : kSignals) sigaction(signal, &action, &previous[signal]);
}

FaultHandlers::~FaultHandlers() {
  for (const int signal : kSignals) sigaction(signal, &previous[signal], nullptr);
  sigaltstack(&previousStack_, nullptr);
}

}  // namespace cuda_host

// Kernels are compiled with -fsanitize=alignment, and this stands in for the function of
// UndefinedBehaviorSanitizer's library that the compiler then calls (with SANITIZE=1 also for null pointers
// and objects too small). The layouts are those of that library.
struct TypeMismatch {
  const char* file;
  uint32_t line, column;
  const struct {
    uint16_t kind, info;
    char name[1];
  }* type;
  unsigned char logAlignment, check;
};

extern "C" __attribute__((noreturn)) void __ubsan_handle_type_mismatch_v1_abort(const TypeMismatch* mismatch,
                                                                                uintptr_t pointer) {
  const void* address = reinterpret_cast<const void*>(pointer);
  const bool misaligned = pointer % (uintptr_t{1} << mismatch->logAlignment) != 0;
  std::string where = cuda_host::describe(address);
  if (where.empty()) where = cuda_host::format("%p", address);
  const char* slash = strrchr(mismatch->file, '/');
  const std::string what = cuda_host::format(
      "%s to %s at %s:%u: %s", misaligned ? "misaligned access" : "access", mismatch->type->name,
      slash == nullptr ? mismatch->file : slash + 1, mismatch->line, where.c_str());
  if (cuda_host::inKernel()) {
    cuda_host::failThread(misaligned ? cudaErrorMisalignedAddress : cudaErrorIllegalAddress, "%s",
                          what.c_str());
  }
  fprintf(stderr, "CUDA on the CPU: %s\n", what.c_str());
  abort();
}
