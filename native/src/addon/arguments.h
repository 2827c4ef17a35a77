// Reads the positional arguments of one call, in order. Only native/lib calls (the package exports no path to
// the .node file): it has checked types, shapes and overlaps, on handles that cannot be forged or changed.
// Here types are checked and that tensors are alive; a wrong shape would go through.
#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "../core/error.h"
#include "engine.h"

namespace sralign::addon {

class Arguments {
 public:
  Arguments(const Napi::CallbackInfo& info, const TensorTable& table) : info_(info), table_(table) {}

  Napi::Env env() const { return info_.Env(); }

  double number() {
    double value = 0;
    if (napi_get_value_double(env(), next(), &value) != napi_ok) throw mismatch("a number");
    return value;
  }
  int64_t integer() {
    int64_t value = 0;
    if (napi_get_value_int64(env(), next(), &value) != napi_ok) throw mismatch("a number");
    return value;
  }
  bool boolean() {
    bool value = false;
    if (napi_get_value_bool(env(), next(), &value) != napi_ok) throw mismatch("a boolean");
    return value;
  }
  template <typename Enum>
  Enum choice() {
    return static_cast<Enum>(integer());
  }

  TensorTable::Id id() { return integer(); }
  const TensorView& tensor() {
    const TensorView& view = table_.get(id());
    tensors_.push_back(view);
    return view;
  }
  TensorView optionalTensor() {  // 0 stands for "not given"
    const TensorTable::Id tensorId = id();
    if (tensorId == 0) return {};
    tensors_.push_back(table_.get(tensorId));
    return tensors_.back();
  }
  std::vector<TensorView> tensors() {  // a Float64Array of ids; 0 entries stay empty
    const auto ids = array<double, napi_float64_array>("a Float64Array");
    std::vector<TensorView> views;
    views.reserve(ids.count);
    for (size_t i = 0; i < ids.count; ++i) {
      const auto tensorId = static_cast<TensorTable::Id>(ids.data[i]);
      views.push_back(tensorId == 0 ? TensorView{} : table_.get(tensorId));
    }
    return views;
  }
  HeadShape heads() {
    HeadShape heads;
    heads.layout = choice<QkvLayout>();
    heads.heads = integer();
    heads.kvHeads = integer();
    heads.headDim = integer();
    return heads;
  }

  template <typename T>
  struct Array {
    T* data;
    size_t count;
  };
  Array<uint8_t> bytes() { return array<uint8_t, napi_uint8_array>("a Uint8Array"); }
  Array<float> floats() { return array<float, napi_float32_array>("a Float32Array"); }
  std::string text() {
    const Napi::Value value(env(), next());
    if (!value.IsString()) throw mismatch("a string");
    return value.As<Napi::String>();
  }
  Napi::Function function() {
    const Napi::Value value(env(), next());
    if (!value.IsFunction()) throw mismatch("a function");
    return value.As<Napi::Function>();
  }

  // The tensors read so far, but for lists: "f32 [2, 3], i32 [5]".
  std::string tensorShapes() const {
    std::string text;
    for (const TensorView& view : tensors_) {
      text += std::string(text.empty() ? "" : ", ") + nameOf(view.dtype) + " [";
      for (int axis = 0; axis < view.rank; ++axis) {
        text += (axis == 0 ? "" : ", ") + std::to_string(view.shape[axis]);
      }
      text += "]";
    }
    return text;
  }

 private:
  napi_value next() { return info_[position_++]; }

  EngineError mismatch(const char* expected) const {
    return {"ERR_NATIVE_CALL", "native argument " + std::to_string(position_) + " must be " + expected};
  }

  template <typename T, napi_typedarray_type type>
  Array<T> array(const char* expected) {
    napi_typedarray_type found;
    size_t count = 0;
    void* data = nullptr;
    if (napi_get_typedarray_info(env(), next(), &found, &count, &data, nullptr, nullptr) != napi_ok ||
        found != type) {
      throw mismatch(expected);
    }
    return {static_cast<T*>(data), count};
  }

  const Napi::CallbackInfo& info_;
  const TensorTable& table_;
  size_t position_ = 0;
  std::vector<TensorView> tensors_;
};

// One exported function.
struct Binding {
  const char* name;
  Napi::Value (*call)(Engine& engine, Arguments& arguments);
};

const std::vector<Binding>& tensorBindings();      // tensors.cc
const std::vector<Binding>& opBindings();          // ops.cc
const std::vector<Binding>& systemBindings();      // system.cc
const std::vector<Binding>& collectiveBindings();  // collectives.cc
const std::vector<Binding>& controlBindings();     // control.cc
const std::vector<Binding>& fileBindings();        // files.cc

}  // namespace sralign::addon
