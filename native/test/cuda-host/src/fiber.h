// Test infrastructure (../README.md): stacks to run threads of a kernel on, and the switch between them.
#pragma once

#include <cstddef>

namespace cuda_host {

// One stack and where its execution stands. Switching costs a few nanoseconds on x86-64 (own assembly) and
// two system calls elsewhere (ucontext).
class Fiber {
 public:
  using Body = void (*)(Fiber&);

  // The fiber of the caller itself: switched away from first, and without a stack of its own.
  Fiber() = default;
  // `body` must never return; it starts at the first switch. `number` staggers the stacks over the cache's
  // sets.
  Fiber(Body body, int number);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Goes on with `to`; returns when somebody switches back to this fiber.
  void switchTo(Fiber& to);
  // The same from a fiber whose execution ends here: forgotten, until `restart`.
  [[noreturn]] void abandonFor(Fiber& to);
  // Forgets where the execution stands; the next switch starts `body` again.
  void restart();

  // Whether the address lies in the guard page below the stack: it overflowed.
  bool isOverflow(const void* address) const;

  void entered();  // AddressSanitizer's part of a switch; called on the stack that goes on

 private:
  void leave(Fiber& to, bool forGood);

  Body body_ = nullptr;
  char* mapping_ = nullptr;
  char *bottom_ = nullptr, *top_ = nullptr;
  void* position_ = nullptr;   // saved stack pointer, or the ucontext_t
  void* fakeStack_ = nullptr;  // AddressSanitizer's
};

}  // namespace cuda_host
