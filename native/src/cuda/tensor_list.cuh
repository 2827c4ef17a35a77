// All tensors of a model in one launch: a list of them, and a block per chunk of kChunk elements. Small
// tensors (biases, norms) then do not each cost a launch.
#pragma once

#include <vector>

#include "groups.cuh"

namespace sralign::cuda {

constexpr int kChunkThreads = 256;
constexpr int64_t kChunk = 16384;

// Entry: a struct of pointers into one tensor with its `int64_t count` of elements.
template <typename Entry>
struct TensorList {
  const Entry* tensors;
  const int32_t* firstChunks;  // of each tensor, counted over all
  int count;
  int64_t chunks;
};

template <typename Entry>
TensorList<Entry> uploadTensors(Context& context, const std::vector<Entry>& tensors) {
  std::vector<int32_t> firstChunks;
  int64_t chunks = 0;
  for (const Entry& tensor : tensors) {
    firstChunks.push_back(static_cast<int32_t>(chunks));
    chunks += ceilDiv(tensor.count, kChunk);
  }
  return {context.upload(ScratchSlot::optimizerTensors, tensors),
          context.upload(ScratchSlot::optimizerChunks, firstChunks), static_cast<int>(tensors.size()),
          chunks};
}

// The part of a tensor that belongs to this block.
template <typename Entry>
struct Chunk {
  Entry tensor;
  int64_t first, end;
};

template <typename Entry>
__device__ __forceinline__ Chunk<Entry> chunkOfBlock(const TensorList<Entry>& list) {
  const int chunk = blockIdx.x;
  int low = 0, high = list.count - 1;  // of the tensors that may be the last to begin at `chunk` or before
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (list.firstChunks[middle] <= chunk) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const Entry tensor = list.tensors[low];
  const int64_t first = (chunk - list.firstChunks[low]) * kChunk;
  return {tensor, first, first + kChunk < tensor.count ? first + kChunk : tensor.count};
}

}  // namespace sralign::cuda
