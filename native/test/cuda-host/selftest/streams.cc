// Test infrastructure (../README.md): what streams, events and copies promise, and that nothing more holds.
#include <cstring>

#include "selftest.h"

using namespace selftest;

namespace {

__global__ void fillKernel(int* data, int count, int value) {
  for (int i = threadIdx.x; i < count; i += blockDim.x) data[i] = value;
}
__global__ void copyKernel(int* target, const int* source) { *target = *source; }
__global__ void appendKernel(int* list, int value) { list[1 + list[0]++] = value; }

struct Pinned {
  int* data = nullptr;
  explicit Pinned(size_t count) { SUCCEED(cudaMallocHost(&data, count * sizeof(int))); }
  ~Pinned() { cudaFreeHost(data); }
};

struct Streams {
  cudaStream_t first = nullptr, second = nullptr;
  explicit Streams(unsigned flags = cudaStreamNonBlocking) {
    SUCCEED(cudaStreamCreateWithFlags(&first, flags));
    SUCCEED(cudaStreamCreateWithFlags(&second, flags));
  }
  ~Streams() {
    cudaStreamDestroy(first);
    cudaStreamDestroy(second);
  }
};

TEST(aStreamKeepsItsOrder) {
  const Streams streams;
  Device<int> list(std::vector<int>(51, 0));
  for (int i = 0; i < 50; ++i) SUCCEED(launch(1, 1, 0, streams.first, appendKernel, list.data(), i));
  SUCCEED(cudaStreamSynchronize(streams.first));
  const std::vector<int> got = list.read();
  for (int i = 0; i < 50; ++i) EXPECT(got[static_cast<size_t>(i) + 1] == i);
}

// How often the second stream sees what the first one wrote.
int seen(bool waits) {
  int count = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    cuda_host::setSeed(static_cast<uint64_t>(seed));
    const Streams streams;
    cudaEvent_t event = nullptr;
    SUCCEED(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    Device<int> source(std::vector<int>{1}), target(std::vector<int>{0});
    SUCCEED(launch(1, 1, 0, streams.first, fillKernel, source.data(), 1, 2));
    SUCCEED(cudaEventRecord(event, streams.first));
    if (waits) SUCCEED(cudaStreamWaitEvent(streams.second, event));
    SUCCEED(launch(1, 1, 0, streams.second, copyKernel, target.data(), source.data()));
    SUCCEED(cudaDeviceSynchronize());
    SUCCEED(cudaEventDestroy(event));
    count += target.read()[0] == 2;
  }
  return count;
}

TEST(eventsOrderStreams) { EXPECT(seen(true) == kSeeds); }
TEST(streamsWithoutEventsRace) {
  const int count = seen(false);
  EXPECT(count > 0 && count < kSeeds);
}

TEST(workWaitsForSynchronization) {
  const Streams streams;
  Device<int> device(std::vector<int>{5});
  Pinned pinned(1);
  *pinned.data = 0;
  SUCCEED(cudaMemcpyAsync(pinned.data, device.data(), 4, cudaMemcpyDeviceToHost, streams.first));
  EXPECT(*pinned.data == 0);  // the host may not rely on it yet
  cudaEvent_t event = nullptr;
  SUCCEED(cudaEventCreate(&event));
  SUCCEED(cudaEventSynchronize(event));  // never recorded: at once
  SUCCEED(cudaEventRecord(event, streams.first));
  EXPECT(*pinned.data == 0);
  SUCCEED(cudaEventSynchronize(event));
  EXPECT(*pinned.data == 5);
  SUCCEED(cudaEventDestroy(event));
}

TEST(queriesComeTrueInTheEnd) {
  const Streams streams;
  Device<int> list(std::vector<int>(11, 0));
  for (int i = 0; i < 10; ++i) SUCCEED(launch(1, 1, 0, streams.first, appendKernel, list.data(), i));
  int asked = 0;
  while (cudaStreamQuery(streams.first) == cudaErrorNotReady) ++asked;
  EXPECT(asked > 0);
  EXPECT(cudaGetLastError() == cudaSuccess);
  EXPECT(list.read()[0] == 10);
}

TEST(sourcesOfCopies) {
  const Streams streams;
  Device<int> device(1), other(1);
  Pinned pinned(1);
  int ordinary = 1;
  *pinned.data = 1;
  SUCCEED(cudaMemcpyAsync(device.data(), &ordinary, 4, cudaMemcpyHostToDevice, streams.first));
  SUCCEED(cudaMemcpyAsync(other.data(), pinned.data, 4, cudaMemcpyHostToDevice, streams.first));
  ordinary = 2;      // taken at the call
  *pinned.data = 2;  // read when the copy runs: too early
  SUCCEED(cudaStreamSynchronize(streams.first));
  EXPECT(device.read()[0] == 1);
  EXPECT(other.read()[0] == 2);
  // To ordinary memory the copy is done when the call returns.
  SUCCEED(cudaMemcpyAsync(&ordinary, other.data(), 4, cudaMemcpyDeviceToHost, streams.first));
  EXPECT(ordinary == 2);
}

TEST(theDefaultStream) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    cuda_host::setSeed(static_cast<uint64_t>(seed));
    const Streams blocking(cudaStreamDefault);
    Device<int> value(std::vector<int>{0}), copied(std::vector<int>{0});
    SUCCEED(launch(1, 1, 0, blocking.first, fillKernel, value.data(), 1, 1));
    SUCCEED(launch(1, 1, 0, nullptr, copyKernel, copied.data(), value.data()));
    SUCCEED(launch(1, 1, 0, blocking.second, fillKernel, value.data(), 1, 2));
    SUCCEED(cudaStreamSynchronize(blocking.second));
    EXPECT(copied.read()[0] == 1);
    EXPECT(value.read()[0] == 2);
  }
}

// A blocking copy does not wait for a stream that does not wait for the default stream.
TEST(blockingCopiesPassOtherStreams) {
  int early = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    cuda_host::setSeed(static_cast<uint64_t>(seed));
    const Streams streams;
    Device<int> value(std::vector<int>{0});
    SUCCEED(launch(1, 1, 0, streams.first, fillKernel, value.data(), 1, 1));
    early += value.read()[0] == 0;
    SUCCEED(cudaStreamSynchronize(streams.first));
    EXPECT(value.read()[0] == 1);
  }
  EXPECT(early > 0);
}

TEST(freeingWaits) {
  const Streams streams;
  Device<int> result(std::vector<int>{0});
  {
    Device<int> value(std::vector<int>{7});
    SUCCEED(launch(1, 1, 0, streams.first, copyKernel, result.data(), value.data()));
  }
  SUCCEED(cudaStreamSynchronize(streams.first));
  EXPECT(result.read()[0] == 7);
}

TEST(copiesAreChecked) {
  Device<int> a(10), b(10);
  std::vector<int> host(20);
  EXPECT(cudaMemcpy(a.data(), host.data(), 44, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  EXPECT(strstr(cudaGetErrorString(cudaErrorInvalidValue), "(40 bytes)") != nullptr);
  EXPECT(cudaMemcpy(a.data() + 5, b.data() + 5, 24, cudaMemcpyDeviceToDevice) == cudaErrorInvalidValue);
  EXPECT(cudaMemcpy(host.data(), host.data() + 10, 4, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  EXPECT(cudaMemcpy(a.data(), a.data() + 1, 8, cudaMemcpyDeviceToDevice) == cudaErrorInvalidValue);
  EXPECT(cudaMemsetAsync(a.data(), 0, 41, nullptr) == cudaErrorInvalidValue);
  EXPECT(cudaFree(a.data() + 1) == cudaErrorInvalidValue);
  EXPECT(cudaFree(host.data()) == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST(pinnedMemoryFreedUnderACopy) {
  Device<int> device(1);
  EXPECT_ERROR(
      [&] {
        const Streams streams;
        int* pinned = nullptr;
        SUCCEED(cudaMallocHost(&pinned, 4));
        SUCCEED(cudaMemcpyAsync(device.data(), pinned, 4, cudaMemcpyHostToDevice, streams.first));
        SUCCEED(cudaFreeHost(pinned));
        EXPECT(cudaStreamSynchronize(streams.first) == cudaErrorIllegalAddress);
      },
      "source of a copy of 4 bytes", "which was freed");
}

}  // namespace
