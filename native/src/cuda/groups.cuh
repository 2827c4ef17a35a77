// A few neighbouring elements at a time, as f32 in registers: what the kernels bound by memory share.
#pragma once

#include <algorithm>

#include "common.cuh"

namespace sralign::cuda {

// Elements a thread moves together: 16 bytes of the widest type. A narrower operand then moves 8 bytes a
// thread, which still fills whole sectors; 16 would leave half of every sector of the wide operands to a
// second access.
template <typename... T>
constexpr int kGroupOf = std::min({kVector<T>...});

template <int kCount, typename T>
using GroupAccess = std::conditional_t<kCount * sizeof(T) == 16, int4, uint64_t>;

// `address` is aligned to a group.
template <int kCount, typename T>
__device__ __forceinline__ void loadGroup(const T* address, float (&values)[kCount]) {
  if constexpr (kCount == 1) {
    values[0] = toFloat(*address);
  } else {
    static_assert(sizeof(GroupAccess<kCount, T>) == kCount * sizeof(T));
    const GroupAccess<kCount, T> bits = *reinterpret_cast<const GroupAccess<kCount, T>*>(address);
    T elements[kCount];
    memcpy(elements, &bits, sizeof(bits));
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = toFloat(elements[i]);
  }
}

template <int kCount, typename T>
__device__ __forceinline__ void storeGroup(T* address, const float (&values)[kCount]) {
  if constexpr (kCount == 1) {
    *address = fromFloat<T>(values[0]);
  } else {
    static_assert(sizeof(GroupAccess<kCount, T>) == kCount * sizeof(T));
    T elements[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) elements[i] = fromFloat<T>(values[i]);
    GroupAccess<kCount, T> bits;
    memcpy(&bits, elements, sizeof(bits));
    *reinterpret_cast<GroupAccess<kCount, T>*>(address) = bits;
  }
}

// Whether all can be moved in groups of kCount elements.
template <int kCount, typename... T>
bool groupAligned(const T*... addresses) {
  return ((reinterpret_cast<uintptr_t>(addresses) % (kCount * sizeof(T)) == 0) && ...);
}

template <typename T>
T* elementsOf(const TensorView& view) {
  return static_cast<T*>(view.data);
}

// Calls body(T{}) with T the type of the elements, float or bf16.
template <typename Body>
void withType(DType dtype, Body&& body) {
  if (dtype == DType::bf16) {
    body(bf16{});
  } else {
    body(float{});
  }
}

inline dim3 gridOf(int64_t blocks) { return dim3(static_cast<unsigned>(blocks)); }

// The smallest whole number of warps with at least `threads` threads.
inline int wholeWarps(int64_t threads) { return static_cast<int>(ceilDiv(threads, kWarp)) * kWarp; }

}  // namespace sralign::cuda
