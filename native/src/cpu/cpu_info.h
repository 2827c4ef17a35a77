// What this processor can do, and which of our kernels and oneDNN's it gets.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace sralign::cpu {

// The best table the processor can run. The environment variable SRALIGN_CPU_KERNELS (portable, avx2, avx512)
// asks for a particular one, and keeps oneDNN to the same instructions (SSE4.1, AVX2, AVX-512 without bf16);
// throws EngineError (ERR_CPU_KERNELS) where that is unknown or beyond the processor. Decided once for the
// process.
const Kernels& selectKernels();

// oneDNN multiplies bf16 matrices with bf16 instructions here (AVX512_BF16 or AMX).
bool hasNativeBf16();

// OpenMP threads of operations started by the calling thread; at least 1.
int threads();
void setThreads(int count);

struct CpuInfo {
  std::string vendor, model;
  std::vector<std::string> instructionSets;
  std::string oneDnnVersion, oneDnnIsa;
  bool nativeBf16 = false;
  int cores = 0;  // that this process may use
};
CpuInfo describeCpu();

}  // namespace sralign::cpu
