// Creating, sharing and freeing tensors, and moving numbers in and out of them.
#include <algorithm>
#include <cstring>

#include "../core/convert.h"
#include "arguments.h"

namespace sralign::addon {

namespace {

constexpr int64_t kStagingElements = 1 << 18;  // converted at a time on the way in or out

struct Shape {
  int rank;
  int64_t sizes[4];
};

// dimension count, then as many sizes
Shape shapeArgument(Arguments& arguments) {
  Shape shape{static_cast<int>(arguments.integer()), {}};
  if (shape.rank < 1 || shape.rank > 4)
    throw EngineError("ERR_NATIVE_CALL", "a tensor has 1 to 4 dimensions");
  for (int i = 0; i < shape.rank; ++i) {
    shape.sizes[i] = arguments.integer();
    if (shape.sizes[i] < 1) throw EngineError("ERR_NATIVE_CALL", "a size must be at least 1");
  }
  return shape;
}

Napi::Value create(Engine& engine, Arguments& arguments) {
  const auto dtype = arguments.choice<DType>();
  const Shape shape = shapeArgument(arguments);
  const TensorTable::Id id = engine.table->create(dtype, shape.rank, shape.sizes);
  return Napi::Number::New(arguments.env(), static_cast<double>(id));
}

Napi::Value createView(Engine& engine, Arguments& arguments) {
  const TensorTable::Id base = arguments.id();
  const int64_t offset = arguments.integer();
  const Shape shape = shapeArgument(arguments);
  const TensorTable::Id id = engine.table->createView(base, offset, shape.rank, shape.sizes);
  return Napi::Number::New(arguments.env(), static_cast<double>(id));
}

Napi::Value release(Engine& engine, Arguments& arguments) {
  engine.table->release(arguments.id());
  return arguments.env().Undefined();
}

// The copy of an index tensor that the host reads, where it is not the tensor itself.
int32_t* mirrorOf(const TensorView& tensor) {
  return tensor.host == tensor.data ? nullptr : const_cast<int32_t*>(tensor.host);
}

Napi::Value zero(Engine& engine, Arguments& arguments) {
  const TensorView& tensor = arguments.tensor();
  if (int32_t* mirror = mirrorOf(tensor)) std::fill_n(mirror, tensor.numel(), 0);
  engine.backend->zero(tensor.data, static_cast<size_t>(tensor.bytes()));
  return arguments.env().Undefined();
}

// target, source: same type and size
Napi::Value copy(Engine& engine, Arguments& arguments) {
  const TensorView& target = arguments.tensor();
  const TensorView& source = arguments.tensor();
  if (target.bytes() != source.bytes()) throw EngineError("ERR_NATIVE_CALL", "sizes differ");
  if (int32_t* mirror = mirrorOf(target)) std::copy_n(source.host, target.numel(), mirror);
  engine.backend->copy(target.data, source.data, static_cast<size_t>(target.bytes()));
  return arguments.env().Undefined();
}

// tensor, first element, bytes, FileType or -1 for "the tensor's own type"
Napi::Value write(Engine& engine, Arguments& arguments) {
  // The pinned memory that it goes through may still be in use.
  const auto waiting = engine.waitingForDevice();
  const TensorView& tensor = arguments.tensor();
  const int64_t offset = arguments.integer();
  const auto bytes = arguments.bytes();
  const int64_t type = arguments.integer();
  const int64_t elementSize = sizeOf(tensor.dtype);
  const int64_t sourceSize = type < 0 ? elementSize : sizeOf(static_cast<FileType>(type));
  const int64_t count = static_cast<int64_t>(bytes.count) / sourceSize;
  if (offset < 0 || offset + count > tensor.numel()) throw EngineError("ERR_NATIVE_CALL", "past the end");
  char* target = static_cast<char*>(tensor.data) + offset * elementSize;
  if (type < 0) {
    if (int32_t* mirror = mirrorOf(tensor)) {
      std::memcpy(mirror + offset, bytes.data, static_cast<size_t>(count * elementSize));
    }
    engine.backend->copyFromHost(target, bytes.data, static_cast<size_t>(count * elementSize));
    return arguments.env().Undefined();
  }
  std::vector<float> staging(static_cast<size_t>(std::min(count, kStagingElements)));
  for (int64_t first = 0; first < count; first += kStagingElements) {
    const int64_t size = std::min(kStagingElements, count - first);
    const uint8_t* source = bytes.data + first * sourceSize;
    if (tensor.dtype == DType::bf16) {
      convertToBf16(source, static_cast<FileType>(type), size, reinterpret_cast<uint16_t*>(staging.data()));
    } else {
      convertToF32(source, static_cast<FileType>(type), size, staging.data());
    }
    engine.backend->copyFromHost(target + first * elementSize, staging.data(),
                                 static_cast<size_t>(size * elementSize));
  }
  return arguments.env().Undefined();
}

// tensor, bytes of exactly its size
Napi::Value read(Engine& engine, Arguments& arguments) {
  const auto waiting = engine.waitingForDevice();
  const TensorView& tensor = arguments.tensor();
  const auto target = arguments.bytes();
  if (static_cast<int64_t>(target.count) != tensor.bytes())
    throw EngineError("ERR_NATIVE_CALL", "sizes differ");
  engine.backend->copyToHost(target.data, tensor.data, target.count);
  return arguments.env().Undefined();
}

// bf16 tensor, floats of exactly its element count
Napi::Value readWidened(Engine& engine, Arguments& arguments) {
  const auto waiting = engine.waitingForDevice();
  const TensorView& tensor = arguments.tensor();
  const auto target = arguments.floats();
  const auto count = static_cast<int64_t>(target.count);
  if (count != tensor.numel() || tensor.dtype != DType::bf16)
    throw EngineError("ERR_NATIVE_CALL", "sizes differ");
  std::vector<uint16_t> staging(static_cast<size_t>(std::min(count, kStagingElements)));
  for (int64_t first = 0; first < count; first += kStagingElements) {
    const int64_t size = std::min(kStagingElements, count - first);
    engine.backend->copyToHost(staging.data(), tensor.bf16() + first, static_cast<size_t>(size) * 2);
    convertToF32(reinterpret_cast<const uint8_t*>(staging.data()), FileType::bf16, size, target.data + first);
  }
  return arguments.env().Undefined();
}

}  // namespace

const std::vector<Binding>& tensorBindings() {
  static const std::vector<Binding> bindings = {
      {"create", create}, {"createView", createView}, {"release", release}, {"zero", zero},
      {"copy", copy},     {"write", write},           {"read", read},       {"readWidened", readWidened},
  };
  return bindings;
}

}  // namespace sralign::addon
