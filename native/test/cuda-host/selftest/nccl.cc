// Test infrastructure (../README.md): what the operations of NCCL promise to ranks that call them together, and that calls
// which do not fit together are told.
#include <nccl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "selftest.h"

using namespace selftest;

namespace {

#define NCCL(call) \
  if (const ncclResult_t status = (call); status != ncclSuccess) fail(__FILE__, __LINE__, ncclGetLastError(nullptr))

struct Rank {
  ncclComm_t communicator = nullptr;
  cudaStream_t stream = nullptr;
  int rank, size;

  Rank(const ncclUniqueId& id, int rank, int size) : rank(rank), size(size) {
    NCCL(ncclCommInitRank(&communicator, size, id, rank));
    SUCCEED(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  }
  cudaError_t finish() { return cudaStreamSynchronize(stream); }
};

// Runs the body in a process for each rank, this one for rank 0, and waits for them. To be called in a process of its own
// (errorsOf), since what a communicator starts does not survive another fork.
void withRanks(int size, const std::function<void(Rank&)>& body) {
  ncclUniqueId id;
  NCCL(ncclGetUniqueId(&id));
  const auto run = [&](int rank) {
    Rank own(id, rank, size);
    body(own);
    cuda_host::printErrors(false);
    ncclCommAbort(own.communicator);
  };
  std::vector<pid_t> others;
  for (int rank = 1; rank < size; ++rank) {
    const pid_t child = fork();
    if (child == 0) {
      run(rank);
      fflush(stdout);
      _exit(hasFailed() ? 1 : 0);
    }
    others.push_back(child);
  }
  run(0);
  for (const pid_t child : others) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

std::vector<float> numbers(size_t count, int rank) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % 100) + 1000.0f * static_cast<float>(rank);
  return values;
}

TEST(ranksExchangeTheirData) {
  const auto exchange = [](Rank& own) {
    constexpr size_t kCount = 40'000;  // more than goes at a time
    const size_t size = static_cast<size_t>(own.size), rank = static_cast<size_t>(own.rank);
    const Device<float> shard(numbers(kCount, own.rank)), all(size * kCount), sum(numbers(kCount, own.rank)),
        parts(numbers(size * kCount, own.rank)), root(numbers(kCount, own.rank));
    NCCL(ncclAllGather(shard.data(), all.data(), kCount, ncclFloat32, own.communicator, own.stream));
    NCCL(ncclAllReduce(sum.data(), sum.data(), kCount, ncclFloat32, ncclSum, own.communicator, own.stream));
    NCCL(ncclReduceScatter(parts.data(), parts.data() + rank * kCount, kCount, ncclFloat32, ncclSum,
                           own.communicator, own.stream));
    NCCL(ncclBroadcast(root.data(), root.data(), kCount, ncclFloat32, 2, own.communicator, own.stream));
    SUCCEED(own.finish());
    const std::vector<float> gathered = all.read(), summed = sum.read(), scattered = parts.read();
    for (size_t i = 0; i < kCount; ++i) {
      const float first = static_cast<float>(i % 100);
      for (size_t other = 0; other < size; ++other) {
        EXPECT(gathered[other * kCount + i] == first + 1000.0f * static_cast<float>(other));
      }
      EXPECT(summed[i] == 3 * first + 3000.0f);
      EXPECT(scattered[rank * kCount + i] == 3 * first + 3000.0f);
    }
    EXPECT(root.read() == numbers(kCount, 2));
  };
  EXPECT(errorsOf([&] { withRanks(3, exchange); }).empty());
}

// ---- calls that do not fit together ------------------------------------------------------------------------------

ncclResult_t sumUp(const Rank& own, const Device<float>& values, size_t count) {
  return ncclAllReduce(values.data(), values.data(), count, ncclFloat32, ncclSum, own.communicator, own.stream);
}

TEST(anotherOperation) {
  const auto action = [](Rank& own) {
    const Device<float> values(8);
    NCCL(own.rank == 0 ? sumUp(own, values, 4)
                       : ncclBroadcast(values.data(), values.data(), 4, ncclFloat32, 1, own.communicator, own.stream));
    EXPECT(own.finish() == cudaErrorLaunchFailure);
    ncclResult_t error = ncclSuccess;
    NCCL(ncclCommGetAsyncError(own.communicator, &error));
    EXPECT(error == ncclInvalidUsage);
  };
  EXPECT_ERROR([&] { withRanks(2, action); },
               "rank 0 of 2, operation 1, ncclAllReduce of 4 float32: at the same time rank 1 is at operation 1, "
               "ncclBroadcast of 4 float32 from rank 1");
}

TEST(anotherCount) {
  const auto action = [](Rank& own) {
    const Device<float> values(8);
    NCCL(sumUp(own, values, own.rank == 0 ? 4 : 5));
    EXPECT(own.finish() == cudaErrorLaunchFailure);
  };
  EXPECT_ERROR([&] { withRanks(2, action); }, "rank 1 is at operation 1, ncclAllReduce of 5 float32");
}

TEST(anotherRoot) {
  const auto action = [](Rank& own) {
    const Device<float> values(8);
    NCCL(ncclBroadcast(values.data(), values.data(), 8, ncclUint8, own.rank, own.communicator, own.stream));
    EXPECT(own.finish() == cudaErrorLaunchFailure);
  };
  EXPECT_ERROR([&] { withRanks(2, action); }, "rank 1 is at operation 1, ncclBroadcast of 8 uint8 from rank 1");
}

TEST(aRankThatLeaves) {
  const auto action = [](Rank& own) {
    const Device<float> values(8);
    if (own.rank == 1) return;
    NCCL(sumUp(own, values, 8));
    EXPECT(own.finish() == cudaErrorLaunchFailure);
  };
  EXPECT_ERROR([&] { withRanks(2, action); }, "rank 1 has left the communicator");
}

TEST(aRankThatDoesNotCome) {
  int ends[2];
  EXPECT(pipe(ends) == 0);
  const auto action = [&](Rank& own) {
    const Device<float> values(8);
    if (own.rank == 0) {
      NCCL(sumUp(own, values, 8));
      EXPECT(own.finish() == cudaErrorLaunchFailure);
      EXPECT(write(ends[1], "", 1) == 1);
    } else {  // stays until the other one has its error
      char byte;
      EXPECT(read(ends[0], &byte, 1) == 1);
    }
  };
  EXPECT_ERROR(
      [&] {
        cuda_host::setRankTimeoutMs(2'000);
        withRanks(2, action);
      },
      "rank 1 did not come within 2000 ms; it has begun no operation");
  close(ends[0]);
  close(ends[1]);
}

TEST(aCommunicatorWithoutAllItsRanks) {
  EXPECT_ERROR(
      [] {
        cuda_host::setRankTimeoutMs(50);
        ncclUniqueId id;
        NCCL(ncclGetUniqueId(&id));
        ncclComm_t communicator = nullptr;
        EXPECT(ncclCommInitRank(&communicator, 2, id, 0) == ncclSystemError);
        EXPECT(ncclCommInitRank(&communicator, 2, id, 2) == ncclInvalidArgument);
      },
      "rank 0 of 2: rank 1 did not come within 50 ms", "rank 2 of 2");
}

// ---- calls that are wrong by themselves --------------------------------------------------------------------------

TEST(buffersAreChecked) {
  const auto action = [](Rank& own) {
    const Device<float> values(8);
    std::vector<float> host(8);
    const auto gather = [&](const float* from, float* to, size_t count) {
      return ncclAllGather(from, to, count, ncclFloat32, own.communicator, own.stream);
    };
    EXPECT(gather(values.data(), values.data() + 1, 4) == ncclInvalidUsage);
    EXPECT(gather(values.data(), values.data(), 9) == ncclInvalidArgument);
    EXPECT(gather(host.data(), values.data(), 1) == ncclInvalidArgument);
    EXPECT(ncclReduceScatter(values.data(), values.data() + 1, 4, ncclFloat32, ncclSum, own.communicator,
                             own.stream) == ncclInvalidUsage);
    EXPECT(ncclAllReduce(values.data(), values.data(), 8, ncclUint8, ncclSum, own.communicator, own.stream) ==
           ncclInvalidArgument);
    EXPECT(ncclBroadcast(values.data(), values.data(), 8, ncclUint8, 1, own.communicator, own.stream) ==
           ncclInvalidArgument);
    std::thread([&] { EXPECT(sumUp(own, values, 8) == ncclInvalidUsage); }).join();
    SUCCEED(own.finish());
  };
  EXPECT_ERROR([&] { withRanks(1, action); }, "ncclAllGather: the buffers overlap",
               "the send buffer takes 36 bytes, which are not all there", "no device memory",
               "ncclReduceScatter: the buffers overlap", "a type that is not known here", "no rank 1",
               "from another thread");
}

TEST(memoryFreedUnderAnOperation) {
  const auto action = [](Rank& own) {
    float* values = nullptr;
    SUCCEED(cudaMalloc(&values, 32));
    NCCL(ncclAllReduce(values, values, 8, ncclFloat32, ncclSum, own.communicator, own.stream));
    SUCCEED(cudaFreeAsync(values, nullptr));
    cudaStreamSynchronize(nullptr);
    EXPECT(own.finish() == cudaErrorLaunchFailure);
  };
  EXPECT_ERROR(
      [&] {
        cuda_host::setSeed(2);  // one in which the memory goes first
        withRanks(1, action);
      },
      "by the time it runs, its memory is no longer there", "which was freed");
}

TEST(aCommunicatorThatEndsTooEarly) {
  const auto action = [](Rank& own) {
    const Device<float> values(8);
    NCCL(sumUp(own, values, 8));
    EXPECT(ncclCommDestroy(own.communicator) == ncclInvalidUsage);
    SUCCEED(own.finish());
  };
  EXPECT_ERROR([&] { withRanks(1, action); }, "ncclCommDestroy of a communicator whose operations are not finished");
}

}  // namespace
