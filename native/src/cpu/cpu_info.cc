#include "cpu_info.h"

#include <dnnl.h>
#include <omp.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "../core/error.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace sralign::cpu {

namespace {

#if defined(__x86_64__)

bool hasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

bool hasAvx512() {
  return hasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

std::string cpuidText(std::initializer_list<unsigned> leaves, bool vendor) {
  std::string text;
  for (const unsigned leaf : leaves) {
    unsigned r[4] = {};
    if (__get_cpuid(leaf, &r[0], &r[1], &r[2], &r[3]) == 0) return text;
    if (vendor) {
      std::swap(r[2], r[3]);  // the vendor's name stands in ebx, edx, ecx
      text.append(reinterpret_cast<const char*>(r + 1), 12);
    } else {
      text.append(reinterpret_cast<const char*>(r), 16);
    }
  }
  const size_t end = text.find('\0');
  if (end != std::string::npos) text.resize(end);
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

std::string vendorName() { return cpuidText({0}, true); }
std::string modelName() { return cpuidText({0x80000002u, 0x80000003u, 0x80000004u}, false); }

std::vector<std::string> instructionSets() {
  std::vector<std::string> names;
  const auto add = [&names](bool present, const char* name) {
    if (present) names.emplace_back(name);
  };
  add(__builtin_cpu_supports("sse4.2"), "sse4.2");
  add(__builtin_cpu_supports("avx"), "avx");
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("fma"), "fma");
  add(__builtin_cpu_supports("f16c"), "f16c");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
  add(__builtin_cpu_supports("avx512bw"), "avx512bw");
  add(__builtin_cpu_supports("avx512vl"), "avx512vl");
  add(__builtin_cpu_supports("avx512dq"), "avx512dq");
  add(__builtin_cpu_supports("avx512vnni"), "avx512vnni");
  add(__builtin_cpu_supports("avx512bf16"), "avx512bf16");
  return names;
}

#else

bool hasAvx2() { return false; }
bool hasAvx512() { return false; }
std::string vendorName() { return "unknown"; }
std::string modelName() { return "unknown"; }
std::vector<std::string> instructionSets() { return {}; }

#endif

std::string isaName(dnnl_cpu_isa_t isa) {
  const auto includes = [isa](dnnl_cpu_isa_t part) { return (isa & part) == part; };
  if (includes(dnnl_cpu_isa_avx512_core_amx)) return "avx512_core_amx";
  if (includes(dnnl_cpu_isa_avx512_core_bf16)) return "avx512_core_bf16";
  if (includes(dnnl_cpu_isa_avx512_core_vnni)) return "avx512_core_vnni";
  if (includes(dnnl_cpu_isa_avx512_core)) return "avx512_core";
  if (includes(dnnl_cpu_isa_avx2_vnni)) return "avx2_vnni";
  if (includes(dnnl_cpu_isa_avx2)) return "avx2";
  if (includes(dnnl_cpu_isa_avx)) return "avx";
  if (includes(dnnl_cpu_isa_sse41)) return "sse41";
  return "generic";
}

struct Variant {
  const Kernels* kernels;
  bool runs;  // here
  // What oneDNN may use beside these kernels where they are asked for by name. It has nothing below SSE4.1.
  dnnl_cpu_isa_t oneDnnLimit;
};

std::vector<Variant> variants() {  // best first
  std::vector<Variant> all;
#if defined(__x86_64__)
  __builtin_cpu_init();
  all = {{&kAvx512Kernels, hasAvx512(), dnnl_cpu_isa_avx512_core},
         {&kAvx2Kernels, hasAvx2(), dnnl_cpu_isa_avx2}};
#endif
  all.push_back({&kPortableKernels, true, dnnl_cpu_isa_sse41});
  return all;
}

// oneDNN takes the limit only before its first work in the process. Where there is nothing to limit (not
// x86), it answers dnnl_unimplemented.
void limitOneDnn(const Variant& variant) {
  const dnnl_status_t status = dnnl_set_max_cpu_isa(variant.oneDnnLimit);
  if (status == dnnl_success || status == dnnl_unimplemented) return;
  throw EngineError("ERR_CPU_KERNELS", std::string("SRALIGN_CPU_KERNELS=") + variant.kernels->name +
                                           ": oneDNN is at work in this process already with " +
                                           isaName(dnnl_get_effective_cpu_isa()));
}

const Kernels& selectOnce() {
  const char* wanted = std::getenv("SRALIGN_CPU_KERNELS");
  const bool any = wanted == nullptr || *wanted == '\0';
  for (const Variant& variant : variants()) {
    if (any && variant.runs) return *variant.kernels;
    if (any || std::strcmp(wanted, variant.kernels->name) != 0) continue;
    if (!variant.runs) {
      throw EngineError("ERR_CPU_KERNELS", std::string("SRALIGN_CPU_KERNELS=") + wanted +
                                               ": this processor lacks those instructions");
    }
    limitOneDnn(variant);
    return *variant.kernels;
  }
  throw EngineError("ERR_CPU_KERNELS",
                    std::string("SRALIGN_CPU_KERNELS=") + wanted +
                        " is not one of the kernels of this build: portable, avx2, avx512");
}

}  // namespace

const Kernels& selectKernels() {
  static const Kernels& selected = selectOnce();
  return selected;
}

bool hasNativeBf16() {
  static const bool native =
      (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
  return native;
}

int threads() { return omp_get_max_threads(); }
void setThreads(int count) { omp_set_num_threads(count); }

CpuInfo describeCpu() {
  const dnnl_version_t* version = dnnl_version();
  CpuInfo info;
  info.vendor = vendorName();
  info.model = modelName();
  info.instructionSets = instructionSets();
  info.oneDnnVersion = std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                       std::to_string(version->patch);
  info.oneDnnIsa = isaName(dnnl_get_effective_cpu_isa());
  info.nativeBf16 = hasNativeBf16();
  info.cores = omp_get_num_procs();
  return info;
}

}  // namespace sralign::cpu
