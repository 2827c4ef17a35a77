// C[m, n] = op(A)[m, k] op(B)[k, n] + beta C + bias[n], through cuBLASLt.
//
// Grid, block and shared memory are cuBLASLt's. Bytes moved: at least (m k + k n) sizeof(input) + (1 + beta)
// m n sizeof(output). FLOPs: 2 m n k.
//
// Matrices here are row-major, cuBLASLt's column-major. A row-major matrix read column by column is its
// transpose, and C^T = op(B)^T op(A)^T, so B is handed over as the first factor, A as the second, and C comes
// out as it should.
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "common.cuh"
#include "ops.h"

namespace sralign::cuda {

namespace {

// What NVIDIA recommends for Hopper; older devices would do with less.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;

cudaDataType_t dataType(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }
const char* typeName(DType dtype) { return dtype == DType::bf16 ? "bf16" : "f32"; }

void checkProduct(cublasStatus_t status, const MatmulArgs& args, const char* step) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw EngineError("ERR_CUBLAS",
                    "cuBLASLt failed to " + std::string(step) + " the matrix product of " +
                        std::to_string(args.m) + " x " + std::to_string(args.k) +
                        (args.transposeA ? " (transposed)" : "") + " by " + std::to_string(args.k) + " x " +
                        std::to_string(args.n) + (args.transposeB ? " (transposed)" : "") + ", " +
                        typeName(args.aType) + " to " + typeName(args.cType) +
                        (args.bias != nullptr ? " with bias: " : ": ") + cublasLtGetStatusName(status));
}

// A descriptor of cuBLASLt that destroys itself.
template <typename Handle, cublasStatus_t (*destroy)(Handle)>
struct Destroyer {
  using pointer = Handle;
  void operator()(Handle handle) const { destroy(handle); }
};
template <typename Handle, cublasStatus_t (*destroy)(Handle)>
using Descriptor = std::unique_ptr<std::remove_pointer_t<Handle>, Destroyer<Handle, destroy>>;
using Operation = Descriptor<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Descriptor<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Descriptor<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// How a product is computed; only the pointers change from call to call.
struct Plan {
  Operation operation;
  Layout a, b, c;
  cublasLtMatmulAlgo_t algorithm;
};

// m, n, k, lda, ldb, ldc, transposes, types, beta, and the alignments of a, b, c and bias (0: none):
// everything the choice of the algorithm depends on.
using PlanKey = std::array<int64_t, 15>;

// The largest power of two that divides the address, up to the 256 that cuBLASLt takes for granted. Views
// begin anywhere in their tensor, so that 4 is possible.
int64_t alignmentOf(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address);
  return bits == 0 ? 0 : static_cast<int64_t>(std::min<uintptr_t>(bits & (~bits + 1), 256));
}

PlanKey keyOf(const MatmulArgs& args, const void* bias) {
  return {args.m,
          args.n,
          args.k,
          args.lda,
          args.ldb,
          args.ldc,
          args.transposeA,
          args.transposeB,
          args.aType == DType::bf16,
          args.cType == DType::bf16,
          args.beta != 0,
          alignmentOf(args.a),
          alignmentOf(args.b),
          alignmentOf(args.c),
          alignmentOf(bias)};
}

}  // namespace

class Matmul {
 public:
  Matmul() {
    const cublasStatus_t status = cublasLtCreate(&handle_);
    if (status != CUBLAS_STATUS_SUCCESS) {
      throw EngineError("ERR_CUBLAS",
                        std::string("cuBLASLt does not start: ") + cublasLtGetStatusName(status));
    }
  }
  ~Matmul() { cublasLtDestroy(handle_); }
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  // `bias` has the type of C.
  void run(Context& context, const MatmulArgs& args, const void* bias) {
    Plan& plan = planFor(args, bias);
    if (bias != nullptr) setBias(plan, args, bias);
    void* workspace = context.scratch(ScratchSlot::matmulWorkspace, kWorkspaceBytes);
    const float alpha = 1;
    checkProduct(cublasLtMatmul(handle_, plan.operation.get(), &alpha, args.b, plan.b.get(), args.a,
                                plan.a.get(), &args.beta, args.c, plan.c.get(), args.c, plan.c.get(),
                                &plan.algorithm, workspace, kWorkspaceBytes, context.stream()),
                 args, "compute");
  }

 private:
  static constexpr size_t kCapacity = 512;

  using Entry = std::pair<PlanKey, Plan>;

  // Choosing an algorithm costs tens of microseconds, finding a kept one a fraction of one. Ragged batches
  // bring new sizes for ever, so the least recently used are dropped.
  Plan& planFor(const MatmulArgs& args, const void* bias) {
    const PlanKey key = keyOf(args, bias);
    if (const auto found = index_.find(key); found != index_.end()) {
      entries_.splice(entries_.begin(), entries_, found->second);
    } else {
      entries_.emplace_front(key, makePlan(args, bias));
      index_[key] = entries_.begin();
      if (entries_.size() > kCapacity) {
        index_.erase(entries_.back().first);
        entries_.pop_back();
      }
    }
    return entries_.front().second;
  }

  static void setBias(Plan& plan, const MatmulArgs& args, const void* bias) {
    checkProduct(cublasLtMatmulDescSetAttribute(plan.operation.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                &bias, sizeof bias),
                 args, "describe");
  }

  static Layout layout(const MatmulArgs& args, DType dtype, int64_t rows, int64_t columns, int64_t ld) {
    cublasLtMatrixLayout_t handle = nullptr;
    checkProduct(cublasLtMatrixLayoutCreate(&handle, dataType(dtype), static_cast<uint64_t>(rows),
                                            static_cast<uint64_t>(columns), ld),
                 args, "describe");
    return Layout(handle);
  }

  Plan makePlan(const MatmulArgs& args, const void* bias) {
    Plan plan;
    plan.operation = describe(args);
    if (bias != nullptr) setBias(plan, args, bias);  // its address tells how it is aligned
    // As they lie in memory, read column by column: a row of ours is a column there.
    plan.a = args.transposeA ? layout(args, args.aType, args.m, args.k, args.lda)
                             : layout(args, args.aType, args.k, args.m, args.lda);
    plan.b = args.transposeB ? layout(args, args.bType, args.k, args.n, args.ldb)
                             : layout(args, args.bType, args.n, args.k, args.ldb);
    plan.c = layout(args, args.cType, args.n, args.m, args.ldc);

    const Preference preference = prefer(args);
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle_, plan.operation.get(), plan.b.get(), plan.a.get(),
                                       plan.c.get(), plan.c.get(), preference.get(), 1, &result, &found);
    checkProduct(status == CUBLAS_STATUS_SUCCESS && found == 0 ? CUBLAS_STATUS_NOT_SUPPORTED : status, args,
                 "find an algorithm for");
    plan.algorithm = result.algo;
    return plan;
  }

  // Accumulation in f32; of f32 inputs no bit is dropped (that would be CUBLAS_COMPUTE_32F_FAST_TF32).
  //
  // cuBLASLt could apply GELU here as well. It is not used: its GELU is the tanh form, while these models
  // mean the one with erf, and the backward pass needs what went in, which would cost the same bytes as a
  // kernel of its own.
  static Operation describe(const MatmulArgs& args) {
    cublasLtMatmulDesc_t handle = nullptr;
    checkProduct(cublasLtMatmulDescCreate(&handle, CUBLAS_COMPUTE_32F, CUDA_R_32F), args, "describe");
    Operation operation(handle);
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, auto value) {
      checkProduct(cublasLtMatmulDescSetAttribute(handle, attribute, &value, sizeof value), args, "describe");
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, args.transposeB ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, args.transposeA ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (args.bias != nullptr) set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    return operation;
  }

  static Preference prefer(const MatmulArgs& args) {
    cublasLtMatmulPreference_t handle = nullptr;
    checkProduct(cublasLtMatmulPreferenceCreate(&handle), args, "describe");
    Preference preference(handle);
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      checkProduct(cublasLtMatmulPreferenceSetAttribute(handle, attribute, &value, sizeof value), args,
                   "describe");
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspaceBytes});
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(alignmentOf(args.b)));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(alignmentOf(args.a)));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(alignmentOf(args.c)));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(alignmentOf(args.c)));
    // A long k may be split among blocks. Their sums must meet in f32, so that a bf16 C is rounded once.
    if (args.cType == DType::bf16) {
      set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    }
    return preference;
  }

  cublasLtHandle_t handle_ = nullptr;
  std::list<Entry> entries_;  // most recently used first
  std::map<PlanKey, std::list<Entry>::iterator> index_;
};

Matmul& Context::matmul() {
  if (!matmul_) matmul_ = std::make_shared<Matmul>();
  return *matmul_;
}

// A bias may come with an f32 C as well. cuBLASLt takes one in the type of C: beside a bf16 C it is rounded
// to bf16 first, as it is under PyTorch's autocast.
void matmul(Context& context, const MatmulArgs& args) {
  const void* bias = args.bias;
  if (bias != nullptr && args.cType == DType::bf16) {
    const TensorView exact{.data = const_cast<float*>(args.bias), .rank = 1, .shape = {args.n}};
    const TensorView rounded{.data = context.scratchOf<bf16>(ScratchSlot::bias, args.n),
                             .dtype = DType::bf16,
                             .rank = 1,
                             .shape = {args.n}};
    cast(context, {.x = exact, .out = rounded});
    bias = rounded.data;
  } else if (bias != nullptr && !aligned16(bias)) {
    // No preference tells cuBLASLt how a bias is aligned, and a view may begin anywhere.
    const size_t bytes = static_cast<size_t>(args.n) * sizeof(float);
    void* moved = context.scratch(ScratchSlot::bias, bytes);
    check(cudaMemcpyAsync(moved, bias, bytes, cudaMemcpyDeviceToDevice, context.stream()), "linear");
    bias = moved;
  }
  context.matmul().run(context, args, bias);
}

}  // namespace sralign::cuda
