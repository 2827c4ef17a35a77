// MPI, and the operations that all ranks of a job do together on tensors.
#include <algorithm>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "../comm/control.h"
#include "../comm/mpi_library.h"
#include "../core/cuda_library.h"
#include "arguments.h"

namespace sralign::addon {

namespace {

using Ticket = Collectives::Ticket;

// ---- MPI -----------------------------------------------------------------------------------------------

// path of the MPI library -> [rank, size]
Napi::Value mpiOpen(Engine&, Arguments& arguments) {
  const control::WaitingInCollective waiting;
  const mpi::World world = openMpi(arguments.text());
  Napi::Array result = Napi::Array::New(arguments.env(), 2);
  result.Set(0u, world.rank);
  result.Set(1u, world.size);
  return result;
}

// text -> that of rank 0
Napi::Value mpiShareText(Engine&, Arguments& arguments) {
  const control::WaitingInCollective waiting;
  return Napi::String::New(arguments.env(), shareTextOverMpi(arguments.text()));
}

Napi::Value mpiClose(Engine& engine, Arguments& arguments) {
  engine.endCollectives();
  const control::WaitingInCollective waiting;
  closeMpi();
  return arguments.env().Undefined();
}

// ---- NCCL ----------------------------------------------------------------------------------------------

// -> id of a job, which this process is a rank of
Napi::Value ncclId(Engine& engine, Arguments& arguments) {
  if (engine.backend->isHost()) throw EngineError("ERR_NATIVE_CALL", "the device in use is no GPU");
  const NcclId id = createNcclId(engine.cudaLibrary);
  Napi::Uint8Array bytes = Napi::Uint8Array::New(arguments.env(), id.size());
  std::copy(id.begin(), id.end(), bytes.Data());
  return bytes;
}

// ---- operations ----------------------------------------------------------------------------------------

enum class Transport : int64_t { mpi = 0, nccl = 1 };

EngineError disagreement(const mpi::World& world, int rank, int worldSize) {
  const auto place = [](int of, int size) { return std::to_string(of) + " of " + std::to_string(size); };
  return {"ERR_COMMUNICATION",
          "for MPI this is rank " + place(world.rank, world.size) + ", not rank " + place(rank, worldSize)};
}

std::unique_ptr<Collectives> makeCollectives(Engine& engine, Transport transport,
                                             Arguments::Array<uint8_t> idBytes, int rank, int worldSize) {
  const bool onHost = engine.backend->isHost();
  if (transport == Transport::mpi && onHost) {
    const mpi::World world = mpiWorld();
    if (world.rank != rank || world.size != worldSize) throw disagreement(world, rank, worldSize);
    return mpiCollectives();
  }
  NcclId id;
  if (transport == Transport::nccl && !onHost && idBytes.count == id.size()) {
    std::copy_n(idBytes.data, id.size(), id.begin());
    return openNccl(engine.cudaLibrary, *engine.backend, rank, worldSize, id);
  }
  throw EngineError("ERR_NATIVE_CALL", "these collectives do not serve the device in use");
}

// transport, id of the job (NCCL), rank, number of ranks
Napi::Value useCollectives(Engine& engine, Arguments& arguments) {
  const auto transport = arguments.choice<Transport>();
  const auto id = arguments.bytes();
  const int rank = static_cast<int>(arguments.integer()), worldSize = static_cast<int>(arguments.integer());
  engine.endCollectives();
  const control::WaitingInCollective waiting;
  engine.collectives = makeCollectives(engine, transport, id, rank, worldSize);
  engine.rank = rank;
  engine.worldSize = worldSize;
  return arguments.env().Undefined();
}

Collectives& collectivesOf(Engine& engine) {
  if (!engine.collectives) throw EngineError("ERR_COMMUNICATION", "no collectives are in use");
  return *engine.collectives;
}

void require(bool holds, const char* what) {
  if (!holds) throw EngineError("ERR_NATIVE_CALL", what);
}

// The operation `ticket` was started on these tensors: they keep their memory until it was waited for.
Napi::Value started(Engine& engine, Arguments& arguments, Ticket ticket,
                    std::vector<std::shared_ptr<void>> memory) {
  engine.inFlight.emplace(ticket, std::move(memory));
  return Napi::Number::New(arguments.env(), static_cast<double>(ticket));
}

// shard, out -> ticket
Napi::Value allGather(Engine& engine, Arguments& arguments) {
  const TensorTable::Id shardId = arguments.id(), outId = arguments.id();
  const TensorView &shard = engine.table->get(shardId), &out = engine.table->get(outId);
  require(shard.dtype == out.dtype && out.numel() == shard.numel() * engine.worldSize, "sizes differ");
  const Ticket ticket =
      collectivesOf(engine).allGather(shard.data, out.data, static_cast<size_t>(shard.bytes()));
  return started(engine, arguments, ticket, {engine.table->hold(shardId), engine.table->hold(outId)});
}

// input, shard -> ticket
Napi::Value reduceScatter(Engine& engine, Arguments& arguments) {
  const TensorTable::Id inputId = arguments.id(), shardId = arguments.id();
  const TensorView &input = engine.table->get(inputId), &shard = engine.table->get(shardId);
  require(input.dtype == DType::f32 && shard.dtype == DType::f32, "the tensors must be f32");
  require(input.numel() == shard.numel() * engine.worldSize, "sizes differ");
  const Ticket ticket =
      collectivesOf(engine).reduceScatter(input.f32(), shard.f32(), static_cast<size_t>(shard.numel()));
  return started(engine, arguments, ticket, {engine.table->hold(inputId), engine.table->hold(shardId)});
}

// tensor -> ticket
Napi::Value allReduce(Engine& engine, Arguments& arguments) {
  const TensorTable::Id id = arguments.id();
  const TensorView& values = engine.table->get(id);
  require(values.dtype == DType::f32, "the tensor must be f32");
  const Ticket ticket = collectivesOf(engine).allReduce(values.f32(), static_cast<size_t>(values.numel()));
  return started(engine, arguments, ticket, {engine.table->hold(id)});
}

// tensor, rank it comes from -> ticket
Napi::Value broadcast(Engine& engine, Arguments& arguments) {
  const TensorTable::Id id = arguments.id();
  const int64_t root = arguments.integer();
  const TensorView& tensor = engine.table->get(id);
  require(tensor.dtype != DType::i32, "the tensor must be f32 or bf16");
  require(root >= 0 && root < engine.worldSize, "there is no such rank");
  const Ticket ticket = collectivesOf(engine).broadcast(tensor.data, static_cast<size_t>(tensor.bytes()),
                                                        static_cast<int>(root));
  return started(engine, arguments, ticket, {engine.table->hold(id)});
}

// -> ticket
Napi::Value barrier(Engine& engine, Arguments& arguments) {
  return started(engine, arguments, collectivesOf(engine).barrier(), {});
}

Napi::Value collectiveWait(Engine& engine, Arguments& arguments) {
  const auto ticket = static_cast<Ticket>(arguments.integer());
  collectivesOf(engine);  // throws where there are none
  engine.finish(ticket);
  return arguments.env().Undefined();
}

Napi::Value takeSpans(Engine& engine, Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const std::vector<CollectiveSpan> spans =
      engine.collectives ? engine.collectives->takeSpans() : std::vector<CollectiveSpan>{};
  Napi::Array result = Napi::Array::New(env, spans.size());
  for (uint32_t i = 0; i < spans.size(); ++i) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", spans[i].name);
    entry.Set("startUs", spans[i].startUs);
    entry.Set("endUs", spans[i].endUs);
    entry.Set("bytes", static_cast<double>(spans[i].bytes));
    result.Set(i, entry);
  }
  return result;
}

}  // namespace

// Where operations are under way this does not wait for them: the other ranks may never come to them, and the
// process would not end. They read and write tensor memory, so everything stays until the process ends.
Engine::~Engine() {
  if (collectives && !collectives->isIdle()) {
    new auto(std::move(inFlight));
    collectives.release();
    table.release();
    backend.release();
    return;
  }
  endCollectives();
}

void Engine::finish(Ticket ticket) {
  auto memory = inFlight.extract(ticket);
  try {
    const control::WaitingInCollective waiting;
    collectives->wait(ticket);
  } catch (...) {
    if (memory) new auto(std::move(memory));  // never freed: after a failure MPI may still write to it
    throw;
  }
}

void Engine::endCollectives() {
  while (!inFlight.empty()) {
    try {
      finish(inFlight.begin()->first);
    } catch (const std::exception&) {  // nobody is left who waits for it
    }
  }
  const control::WaitingInCollective waiting;  // the end of a communicator waits for what runs on the GPU
  collectives.reset();
}

std::optional<control::WaitingInCollective> Engine::waitingForDevice() const {
  if (!collectives || backend->isHost()) return std::nullopt;
  return std::optional<control::WaitingInCollective>(std::in_place);
}

const std::vector<Binding>& collectiveBindings() {
  static const std::vector<Binding> bindings = {
      {"mpiOpen", mpiOpen},
      {"mpiShareText", mpiShareText},
      {"mpiClose", mpiClose},
      {"ncclId", ncclId},
      {"useCollectives", useCollectives},
      {"allGather", allGather},
      {"reduceScatter", reduceScatter},
      {"allReduce", allReduce},
      {"broadcast", broadcast},
      {"barrier", barrier},
      {"collectiveWait", collectiveWait},
      {"takeSpans", takeSpans},
  };
  return bindings;
}

}  // namespace sralign::addon
