// Rows of the embedding table, and the gradient that flows back into them.
#include <omp.h>

#include "bf16.h"
#include "kernels_isa.h"

namespace sralign::cpu::SRALIGN_ISA {

namespace {

template <typename T>
void gatherRows(const int32_t* tokens, const T* table, int64_t count, int64_t width, float* out) {
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < count; ++t) {
    const T* row = table + tokens[t] * width;
    float* target = out + t * width;
    for (int64_t h = 0; h < width; ++h) target[h] = toF32(row[h]);
  }
}

}  // namespace

void embedding(const EmbeddingArgs& args) {
  const int64_t count = args.out.shape[0], width = args.out.shape[1];
  if (args.table.dtype == DType::bf16) {
    gatherRows(args.tokens.i32(), args.table.bf16(), count, width, args.out.f32());
  } else {
    gatherRows(args.tokens.i32(), args.table.f32(), count, width, args.out.f32());
  }
}

// A token may occur many times. Each thread owns the tokens of its residue class, so no two write the same
// row and a row's sum has the same order for any number of threads.
void embeddingBackward(const EmbeddingBackwardArgs& args) {
  const int64_t count = args.dOut.shape[0], width = args.dOut.shape[1];
  const int32_t* tokens = args.tokens.i32();
  const float* dOut = args.dOut.f32();
  float* dTable = args.dTable.f32();
#pragma omp parallel
  {
    const int threads = omp_get_num_threads(), mine = omp_get_thread_num();
    for (int64_t t = 0; t < count; ++t) {
      if (tokens[t] % threads != mine) continue;
      const float* source = dOut + t * width;
      float* target = dTable + tokens[t] * width;
      for (int64_t h = 0; h < width; ++h) target[h] += source[h];
    }
  }
}

}  // namespace sralign::cpu::SRALIGN_ISA
