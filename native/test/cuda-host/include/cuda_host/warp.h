// Test infrastructure (../../README.md): shuffles and votes. All lanes the mask names must call the same one
// at the same place with the same mask; src/block.cc reports everything else.
#pragma once

#include <concepts>
#include <cstring>

#include "api.h"
#include "block.h"

namespace cuda_host {

// The types CUDA has shuffles for.
template <typename T>
concept Shuffled = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, long> ||
                   std::same_as<T, unsigned long> || std::same_as<T, long long> ||
                   std::same_as<T, unsigned long long> || std::same_as<T, float> || std::same_as<T, double>;

template <typename T>
struct ShuffleLane {
  T value, result;
  int source;  // -1: keeps its own
};

template <typename T>
void completeShuffle(unsigned mask, void* const (&lanes)[32]) {
  for (int lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    auto& record = *static_cast<ShuffleLane<T>*>(lanes[lane]);
    const int source = record.source < 0 ? lane : record.source;
    if (!(mask >> source & 1)) {
      failThread(cudaErrorLaunchFailure, "lane %d reads lane %d, which mask 0x%08x does not name", lane,
                 source, mask);
    }
    record.result = static_cast<ShuffleLane<T>*>(lanes[source])->value;
  }
}

template <typename T>
T shuffle(const char* name, unsigned mask, T value, int source, int width, const Site& site) {
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
    failThread(cudaErrorLaunchFailure, "%s with width %d, which is no power of two up to 32", name, width);
  }
  ShuffleLane<T> record{value, {}, source};
  meetLanes(name, mask, &record, completeShuffle<T>, site);
  return record.result;
}

struct VoteLane {
  bool predicate;
  unsigned result;
};
inline void completeVote(unsigned mask, void* const (&lanes)[32]) {
  unsigned ballot = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if (lanes[lane] != nullptr && static_cast<VoteLane*>(lanes[lane])->predicate) ballot |= 1u << lane;
  }
  for (int lane = 0; lane < 32; ++lane) {
    if (mask >> lane & 1) static_cast<VoteLane*>(lanes[lane])->result = ballot;
  }
}
inline unsigned vote(const char* name, unsigned mask, bool predicate, const Site& site) {
  VoteLane record{predicate, 0};
  meetLanes(name, mask, &record, completeVote, site);
  return record.result;
}

}  // namespace cuda_host

// NOLINTBEGIN: the names are CUDA's
template <cuda_host::Shuffled T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize,
              const cuda_host::Site& site = cuda_host::Site::current()) {
  const int lane = cuda_host::currentLane();
  return cuda_host::shuffle("__shfl_sync", mask, value, (lane & -width) + (source & (width - 1)), width,
                            site);
}
template <cuda_host::Shuffled T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize,
                  const cuda_host::Site& site = cuda_host::Site::current()) {
  const int lane = cuda_host::currentLane();
  const int source = lane ^ bits;
  // A lane may read from its own and earlier segments only.
  const bool reachable = source >= 0 && source < ((lane & -width) + width);
  return cuda_host::shuffle("__shfl_xor_sync", mask, value, reachable ? source : -1, width, site);
}
template <cuda_host::Shuffled T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = warpSize,
                 const cuda_host::Site& site = cuda_host::Site::current()) {
  const int lane = cuda_host::currentLane();
  const bool reachable = distance <= static_cast<unsigned>(lane & (width - 1));
  return cuda_host::shuffle("__shfl_up_sync", mask, value, reachable ? lane - static_cast<int>(distance) : -1,
                            width, site);
}
template <cuda_host::Shuffled T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = warpSize,
                   const cuda_host::Site& site = cuda_host::Site::current()) {
  const int lane = cuda_host::currentLane();
  const bool reachable = distance < static_cast<unsigned>(width - (lane & (width - 1)));
  return cuda_host::shuffle("__shfl_down_sync", mask, value,
                            reachable ? lane + static_cast<int>(distance) : -1, width, site);
}
inline unsigned __ballot_sync(unsigned mask, bool predicate,
                              const cuda_host::Site& site = cuda_host::Site::current()) {
  return cuda_host::vote("__ballot_sync", mask, predicate, site);
}
inline int __any_sync(unsigned mask, bool predicate,
                      const cuda_host::Site& site = cuda_host::Site::current()) {
  return cuda_host::vote("__any_sync", mask, predicate, site) != 0;
}
inline int __all_sync(unsigned mask, bool predicate,
                      const cuda_host::Site& site = cuda_host::Site::current()) {
  return cuda_host::vote("__all_sync", mask, predicate, site) == mask;
}
inline void __syncwarp(unsigned mask = 0xffffffffu,
                       const cuda_host::Site& site = cuda_host::Site::current()) {
  cuda_host::vote("__syncwarp", mask, false, site);
}
// NOLINTEND
