// Test infrastructure (../README.md).
#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

#ifndef __x86_64__
#include <ucontext.h>
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
constexpr size_t kStackBytes = 512 * 1024;  // frames hold red zones there
#else
constexpr size_t kStackBytes = 128 * 1024;
#endif

namespace cuda_host {
namespace {

const size_t kPage = static_cast<size_t>(sysconf(_SC_PAGESIZE));
Fiber* running = nullptr;  // the one that goes on after a switch

#ifdef __SANITIZE_ADDRESS__
// AddressSanitizer tells the bounds of a stack when it is left; the caller's own are known from there only.
Fiber* left = nullptr;
#endif

[[noreturn]] void startFiber(void (*body)(Fiber&)) {
  Fiber& self = *running;
  self.entered();
  body(self);
  abort();
}

}  // namespace

#ifdef __x86_64__

// Saves the registers a called function must keep on the stack, then the stack pointer, and takes the
// others'.
extern "C" void cudaHostSwitchStack(void** from, void* to);
asm(R"(
  .text
  .type cudaHostSwitchStack, @function
cudaHostSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size cudaHostSwitchStack, .-cudaHostSwitchStack

  .type cudaHostEnterFiber, @function
cudaHostEnterFiber:
  movq %rbx, %rdi
  xorl %ebp, %ebp
  callq *%r12
  ud2
  .size cudaHostEnterFiber, .-cudaHostEnterFiber
)");
extern "C" void cudaHostEnterFiber();

void Fiber::restart() {
  // As cudaHostSwitchStack leaves a stack: r15, r14, r13, r12 = what to call, rbx = its argument, rbp, where
  // to go. The call there must find the stack pointer at a multiple of 16.
  auto** stack = reinterpret_cast<void**>(top_) - 9;
  for (int i = 0; i < 9; ++i) stack[i] = nullptr;
  stack[3] = reinterpret_cast<void*>(&startFiber);
  stack[4] = reinterpret_cast<void*>(body_);
  stack[6] = reinterpret_cast<void*>(&cudaHostEnterFiber);
  position_ = stack;
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(bottom_, static_cast<size_t>(top_ - bottom_));
  fakeStack_ = nullptr;
#endif
}

static void swapStacks(void** from, void* to) { cudaHostSwitchStack(from, to); }

#else

static void enterContext(unsigned high, unsigned low) {
  startFiber(reinterpret_cast<Fiber::Body>(static_cast<uintptr_t>(high) << 32 | low));
}

void Fiber::restart() {
  auto* context = static_cast<ucontext_t*>(position_ != nullptr ? position_ : calloc(1, sizeof(ucontext_t)));
  getcontext(context);
  context->uc_stack.ss_sp = bottom_;
  context->uc_stack.ss_size = static_cast<size_t>(top_ - bottom_);
  context->uc_link = nullptr;
  const auto body = reinterpret_cast<uintptr_t>(body_);
  makecontext(context, reinterpret_cast<void (*)()>(&enterContext), 2, static_cast<unsigned>(body >> 32),
              static_cast<unsigned>(body));
  position_ = context;
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(bottom_, static_cast<size_t>(top_ - bottom_));
  fakeStack_ = nullptr;
#endif
}

static void swapStacks(void** from, void* to) {
  if (*from == nullptr) *from = calloc(1, sizeof(ucontext_t));
  swapcontext(static_cast<ucontext_t*>(*from), static_cast<ucontext_t*>(to));
}

#endif

Fiber::Fiber(Body body, int number) : body_(body) {
  mapping_ = static_cast<char*>(mmap(nullptr, kStackBytes + kPage, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (mapping_ == MAP_FAILED || mprotect(mapping_, kPage, PROT_NONE) != 0) abort();
  bottom_ = mapping_ + kPage;
  // Stacks all end at multiples of the page size; without this the hot ends of hundreds of them would share a
  // few sets of the cache.
  top_ = mapping_ + kPage + kStackBytes - static_cast<size_t>(number % 61) * 448;
  top_ -= reinterpret_cast<uintptr_t>(top_) % 64;
  restart();
}

Fiber::~Fiber() {
  if (mapping_ != nullptr) munmap(mapping_, kStackBytes + kPage);
#ifndef __x86_64__
  free(position_);
#endif
}

void Fiber::leave(Fiber& to, bool forGood) {
#ifdef __SANITIZE_ADDRESS__
  left = this;
  __sanitizer_start_switch_fiber(forGood ? nullptr : &fakeStack_, to.bottom_,
                                 static_cast<size_t>(to.top_ - to.bottom_));
#else
  (void)forGood;
#endif
  running = &to;
  swapStacks(&position_, to.position_);
}

void Fiber::entered() {
#ifdef __SANITIZE_ADDRESS__
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fakeStack_, &bottom, &bytes);
  if (left->mapping_ == nullptr) {
    left->bottom_ = static_cast<char*>(const_cast<void*>(bottom));
    left->top_ = left->bottom_ + bytes;
  }
#endif
}

void Fiber::switchTo(Fiber& to) {
  leave(to, false);
  entered();
}

void Fiber::abandonFor(Fiber& to) {
  leave(to, true);
  abort();
}

bool Fiber::isOverflow(const void* address) const {
  return address >= mapping_ && address < mapping_ + kPage;
}

}  // namespace cuda_host
