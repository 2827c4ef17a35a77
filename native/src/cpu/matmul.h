// Matrix products through oneDNN: the one place that knows which of its entry points is fast for which type.
#pragma once

#include "../core/matmul_args.h"

namespace sralign::cpu {

// `bias` only where C is bf16: an f32 C can start from it. Uses every OpenMP thread of the calling thread;
// inside a parallel region it runs on that one thread.
void matmul(const MatmulArgs& args);

}  // namespace sralign::cpu
