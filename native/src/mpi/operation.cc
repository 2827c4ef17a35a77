// The operations that MPI has ready. Reductions are in reduction.cc.
#include "operation.h"

#include <climits>

#include "../core/error.h"

namespace sralign::mpi {

namespace {

// `count` elements of `type` are `bytes` bytes. MPI counts in int, so what is larger becomes one element of a
// type made for it.
class ByteType {
 public:
  explicit ByteType(size_t bytes) : count(static_cast<int>(bytes)) {
    if (bytes <= INT_MAX) return;
    constexpr int kBlockBytes = 1 << 30;
    const int blocks = static_cast<int>(bytes / kBlockBytes);
    const int lengths[] = {blocks, static_cast<int>(bytes % kBlockBytes)};
    const MPI_Aint offsets[] = {0, static_cast<MPI_Aint>(blocks) * kBlockBytes};
    MPI_Datatype block = MPI_DATATYPE_NULL;
    check(MPI_Type_contiguous(kBlockBytes, MPI_BYTE, &block), "make a type");
    const MPI_Datatype types[] = {block, MPI_BYTE};
    check(MPI_Type_create_struct(2, lengths, offsets, types, &type), "make a type");
    check(MPI_Type_commit(&type), "make a type");
    MPI_Type_free(&block);
    count = 1;
  }
  ~ByteType() {  // operations that use it go on
    if (type != MPI_BYTE) MPI_Type_free(&type);
  }
  ByteType(const ByteType&) = delete;
  ByteType& operator=(const ByteType&) = delete;

  int count;
  MPI_Datatype type = MPI_BYTE;
};

class AllGather : public Operation {
 public:
  AllGather(const World& world, const void* shard, void* out, size_t bytes)
      : Operation("all-gather", bytes * static_cast<size_t>(world.size)),
        shard_(shard),
        out_(out),
        bytes_(bytes) {}

  bool advance(Context& context) override {
    if (started_) return false;
    started_ = true;
    const ByteType shardType(bytes_);
    const char* place = static_cast<char*>(out_) + static_cast<size_t>(context.world.rank) * bytes_;
    const void* source = shard_ == place ? MPI_IN_PLACE : shard_;
    requests.resize(1);
    check(MPI_Iallgather(source, shardType.count, shardType.type, out_, shardType.count, shardType.type,
                         context.communicator, requests.data()),
          span.name);
    return true;
  }

 private:
  const void* shard_;
  void* out_;
  size_t bytes_;
  bool started_ = false;
};

class Broadcast : public Operation {
 public:
  Broadcast(void* data, size_t bytes, int root) : Operation("broadcast", bytes), data_(data), root_(root) {}

  bool advance(Context& context) override {
    if (started_) return false;
    started_ = true;
    const ByteType dataType(span.bytes);
    requests.resize(1);
    check(MPI_Ibcast(data_, dataType.count, dataType.type, root_, context.communicator, requests.data()),
          span.name);
    return true;
  }

 private:
  void* data_;
  int root_;
  bool started_ = false;
};

class Barrier : public Operation {
 public:
  Barrier() : Operation("barrier", 0) {}

  bool advance(Context& context) override {
    if (started_) return false;
    started_ = true;
    requests.resize(1);
    check(MPI_Ibarrier(context.communicator, requests.data()), span.name);
    return true;
  }

 private:
  bool started_ = false;
};

}  // namespace

void check(int status, const char* what) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw EngineError("ERR_COMMUNICATION", "MPI: " + std::string(what) + " failed: " + text);
}

std::shared_ptr<Operation> makeAllGather(const World& world, const void* shard, void* out, size_t bytes) {
  return std::make_shared<AllGather>(world, shard, out, bytes);
}

std::shared_ptr<Operation> makeBroadcast(void* data, size_t bytes, int root) {
  return std::make_shared<Broadcast>(data, bytes, root);
}

std::shared_ptr<Operation> makeBarrier() { return std::make_shared<Barrier>(); }

}  // namespace sralign::mpi
