// Test infrastructure (../README.md): the random numbers that order fibers, blocks, streams and copies.
#pragma once

#include <cstdint>

namespace cuda_host {

extern uint64_t randomState;  // never 0

inline uint32_t randomBits() {  // xorshift64*
  randomState ^= randomState >> 12;
  randomState ^= randomState << 25;
  randomState ^= randomState >> 27;
  return static_cast<uint32_t>(randomState * 0x2545f4914f6cdd1du >> 32);
}
inline uint32_t randomBelow(uint32_t limit) {
  return static_cast<uint32_t>(static_cast<uint64_t>(randomBits()) * limit >> 32);
}
// One of the bits set in `bits`, which is not 0: the next one after a random place.
inline int randomBit(uint32_t bits) {
  const int turn = static_cast<int>(randomBits() & 31);
  return (__builtin_ctz(bits >> turn | bits << (-turn & 31)) + turn) & 31;
}

}  // namespace cuda_host
