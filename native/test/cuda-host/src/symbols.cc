// Test infrastructure (../README.md). Kernels are in anonymous namespaces, so that dladdr does not know them;
// the full table of symbols in the program's file does.
#include "symbols.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <vector>

#include "errors.h"

namespace cuda_host {
namespace {

std::vector<char> readFile(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) file.open("/proc/self/exe", std::ios::binary);  // the program, started by a relative name
  return {std::istreambuf_iterator<char>(file), {}};
}

// The mangled name of the function that begins `offset` bytes from where the file was loaded; empty if not
// found.
std::string findSymbol(const std::vector<char>& file, uintptr_t offset, uintptr_t address) {
  if (file.size() < sizeof(Elf64_Ehdr) || memcmp(file.data(), ELFMAG, SELFMAG) != 0) return {};
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(file.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(file.data() + header->e_shoff);
  const uintptr_t value = header->e_type == ET_EXEC ? address : offset;
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(file.data() + sections[i].sh_offset);
    const char* names = file.data() + sections[sections[i].sh_link].sh_offset;
    for (size_t s = 0; s < sections[i].sh_size / sizeof(Elf64_Sym); ++s) {
      if (ELF64_ST_TYPE(symbols[s].st_info) == STT_FUNC && symbols[s].st_value == value) {
        return names + symbols[s].st_name;
      }
    }
  }
  return {};
}

// "void sralign::cuda::(anonymous namespace)::geluKernel<float>(float const*, long)" -> "geluKernel<float>"
std::string shorten(std::string name) {
  static const std::string kAnonymous = "(anonymous namespace)::";
  for (size_t at; (at = name.find(kAnonymous)) != std::string::npos;) name.erase(at, kAnonymous.size());
  size_t begin = 0, end = 0;
  int depth = 0;  // of template arguments
  for (; end < name.size(); ++end) {
    const char c = name[end];
    if (c == '<') ++depth;
    if (c == '>') --depth;
    if (depth > 0) continue;
    if (c == '(') break;
    if (c == ' ' || c == ':') begin = end + 1;
  }
  return name.substr(begin, end - begin);
}

}  // namespace

std::string functionName(const void* function) {
  static std::map<const void*, std::string> known;
  std::string& name = known[function];
  if (!name.empty()) return name;
  name = format("%p", function);
  Dl_info info;
  if (dladdr(function, &info) == 0) return name;
  const auto address = reinterpret_cast<uintptr_t>(function);
  const std::string symbol =
      findSymbol(readFile(info.dli_fname), address - reinterpret_cast<uintptr_t>(info.dli_fbase), address);
  if (symbol.empty()) return name;
  int status = 0;
  char* demangled = abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status);
  name = status == 0 ? shorten(demangled) : symbol;
  free(demangled);
  return name;
}

}  // namespace cuda_host
