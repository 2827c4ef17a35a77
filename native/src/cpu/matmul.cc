#include "matmul.h"

#include <omp.h>
#include <dnnl.hpp>

#include <algorithm>
#include <array>
#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include "../core/convert.h"
#include "../core/error.h"
#include "cpu_info.h"
#include "scratch.h"

namespace sralign::cpu {

namespace {

void multiplyF32(bool transposeA, bool transposeB, int64_t m, int64_t n, int64_t k, const float* a,
                 int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  const dnnl_status_t status =
      dnnl_sgemm(transposeA ? 'T' : 'N', transposeB ? 'T' : 'N', m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
  if (status == dnnl_out_of_memory) throw OutOfMemoryError("oneDNN: out of memory in a matrix product");
  if (status != dnnl_success) {
    throw EngineError("ERR_ONEDNN", "oneDNN refused a matrix product of " + std::to_string(m) + " x " +
                                        std::to_string(n) + " x " + std::to_string(k) + " (status " +
                                        std::to_string(status) + ")");
  }
}

// ---- bf16 where the processor multiplies it ------------------------------------------------------------

// A primitive and the memory objects it runs on; only the pointers change from call to call.
struct Bf16Product {
  dnnl::matmul primitive;
  dnnl::memory a, b, c, bias;
};

// m, n, k, lda, ldb, ldc, transposes, output type, beta, bias, threads: everything the generated code depends
// on.
using ProductKey = std::array<int64_t, 12>;

// Making a primitive costs up to half a millisecond, running a kept one a fifth of a microsecond. Ragged
// batches bring new sizes for ever, so the least recently used are dropped.
class ProductCache {
 public:
  Bf16Product& get(const MatmulArgs& args) {
    const ProductKey key = {args.m,
                            args.n,
                            args.k,
                            args.lda,
                            args.ldb,
                            args.ldc,
                            args.transposeA,
                            args.transposeB,
                            args.cType == DType::bf16,
                            args.beta != 0,
                            args.bias != nullptr,
                            omp_in_parallel() ? 1 : omp_get_max_threads()};
    if (const auto found = index_.find(key); found != index_.end()) {
      entries_.splice(entries_.begin(), entries_, found->second);
    } else {
      entries_.emplace_front(key, make(args));
      index_[key] = entries_.begin();
      if (entries_.size() > kCapacity) {
        index_.erase(entries_.back().first);
        entries_.pop_back();
      }
    }
    return entries_.front().second;
  }

  dnnl::stream& stream() { return stream_; }

 private:
  static constexpr size_t kCapacity = 512;

  Bf16Product make(const MatmulArgs& args) {
    using dnnl::memory;
    const auto strides = [](bool transpose, int64_t ld) {
      return transpose ? memory::dims{1, ld} : memory::dims{ld, 1};
    };
    const auto outputType = args.cType == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
    const memory::desc a({args.m, args.k}, memory::data_type::bf16, strides(args.transposeA, args.lda));
    const memory::desc b({args.k, args.n}, memory::data_type::bf16, strides(args.transposeB, args.ldb));
    const memory::desc c({args.m, args.n}, outputType, strides(false, args.ldc));
    // A description of zero size stands for "no bias".
    const memory::desc bias = args.bias == nullptr
                                  ? memory::desc()
                                  : memory::desc({1, args.n}, memory::data_type::f32, strides(false, args.n));
    dnnl::primitive_attr attributes;
    if (args.beta != 0) {
      dnnl::post_ops addToC;
      addToC.append_sum(args.beta);
      attributes.set_post_ops(addToC);
    }
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::matmul::primitive_desc description(engine_, a, b, bias, c, attributes);
#else
    const dnnl::matmul::primitive_desc description({a, b, bias, c}, attributes, engine_);
#endif
    return {dnnl::matmul(description), memory(a, engine_, nullptr), memory(b, engine_, nullptr),
            memory(c, engine_, nullptr), memory(bias, engine_, nullptr)};
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::list<std::pair<ProductKey, Bf16Product>> entries_;  // most recently used first
  std::map<ProductKey, std::list<std::pair<ProductKey, Bf16Product>>::iterator> index_;
};

void multiplyBf16(const MatmulArgs& args) {
  thread_local ProductCache cache;
  try {
    Bf16Product& product = cache.get(args);
    product.a.set_data_handle(const_cast<void*>(args.a));
    product.b.set_data_handle(const_cast<void*>(args.b));
    product.c.set_data_handle(args.c);
    std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, product.a}, {DNNL_ARG_WEIGHTS, product.b}, {DNNL_ARG_DST, product.c}};
    if (args.bias != nullptr) {
      product.bias.set_data_handle(const_cast<float*>(args.bias));
      arguments.emplace(DNNL_ARG_BIAS, product.bias);
    }
    product.primitive.execute(cache.stream(), arguments);
    cache.stream().wait();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) {
      throw OutOfMemoryError("oneDNN: out of memory in a bf16 matrix product");
    }
    throw EngineError("ERR_ONEDNN", std::string("oneDNN bf16 matrix product: ") + error.what());
  }
}

// ---- bf16 elsewhere: widened to f32, which is exact, multiplied, and rounded once ----------------------

void widen(const uint16_t* source, int64_t ld, int64_t rows, int64_t columns, float* target) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < columns; ++i) target[row * columns + i] = bf16ToF32(source[row * ld + i]);
  }
}

void round(const float* source, int64_t rows, int64_t columns, uint16_t* target, int64_t ld) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < columns; ++i) target[row * ld + i] = f32ToBf16(source[row * columns + i]);
  }
}

float* floatScratch(ScratchSlot slot, int64_t count) {
  return static_cast<float*>(scratch(slot, static_cast<size_t>(count) * sizeof(float)));
}

void multiplyWidened(const MatmulArgs& args) {
  constexpr int64_t kPanelFloats = int64_t{1} << 20;  // of B, so that an output matrix is never widened whole
  const auto* a = static_cast<const uint16_t*>(args.a);
  const auto* b = static_cast<const uint16_t*>(args.b);
  const int64_t aRows = args.transposeA ? args.k : args.m, aColumns = args.transposeA ? args.m : args.k;
  float* wideA = floatScratch(ScratchSlot::matmulA, aRows * aColumns);
  widen(a, args.lda, aRows, aColumns, wideA);

  const int64_t panel = std::min(args.n, std::max<int64_t>(kPanelFloats / args.k, 64));
  float* wideB = floatScratch(ScratchSlot::matmulB, args.k * panel);
  float* wideC = args.cType == DType::bf16 ? floatScratch(ScratchSlot::matmulC, args.m * panel) : nullptr;
  for (int64_t first = 0; first < args.n; first += panel) {
    const int64_t columns = std::min(panel, args.n - first);
    if (args.transposeB) {
      widen(b + first * args.ldb, args.ldb, columns, args.k, wideB);
    } else {
      widen(b + first, args.ldb, args.k, columns, wideB);
    }
    const int64_t ldb = args.transposeB ? args.k : columns;
    if (wideC == nullptr) {
      multiplyF32(args.transposeA, args.transposeB, args.m, columns, args.k, wideA, aColumns, wideB, ldb,
                  args.beta, static_cast<float*>(args.c) + first, args.ldc);
      continue;
    }
    uint16_t* c = static_cast<uint16_t*>(args.c) + first;
    if (args.beta != 0) widen(c, args.ldc, args.m, columns, wideC);
    for (int64_t row = 0; args.bias != nullptr && row < args.m; ++row) {
      std::copy_n(args.bias + first, columns, wideC + row * columns);
    }
    multiplyF32(args.transposeA, args.transposeB, args.m, columns, args.k, wideA, aColumns, wideB, ldb,
                args.bias == nullptr ? args.beta : 1.0f, wideC, columns);
    round(wideC, args.m, columns, c, args.ldc);
  }
}

}  // namespace

void matmul(const MatmulArgs& args) {
  if (args.aType == DType::f32) {
    multiplyF32(args.transposeA, args.transposeB, args.m, args.n, args.k, static_cast<const float*>(args.a),
                args.lda, static_cast<const float*>(args.b), args.ldb, args.beta, static_cast<float*>(args.c),
                args.ldc);
  } else if (hasNativeBf16()) {
    multiplyBf16(args);
  } else {
    multiplyWidened(args);
  }
}

}  // namespace sralign::cpu
