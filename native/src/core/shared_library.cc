#include "shared_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>

#include "error.h"

namespace sralign {

SharedLibrary::SharedLibrary(const Kind& kind, const std::string& path) : kind_(kind), path_(path) {
  const std::string name = kind.name;
  std::error_code unreadable;  // a path that is too long, a folder that may not be searched: missing, too
  if (!std::filesystem::exists(path, unreadable)) {
    throw EngineError(kind.code,
                      "the " + name + " library is not built (" + path + " is missing); " + kind.help);
  }
  handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) {
    throw EngineError(kind.code, "the " + name + " library does not open: " + dlerror());
  }
  const int version = function<int()>(kind.versionFunction)();
  if (version != kind.version) {
    throw EngineError(kind.code, path + " has version " + std::to_string(version) +
                                     ", but this build needs " + std::to_string(kind.version) +
                                     "; build it again");
  }
}

void* SharedLibrary::symbol(const char* name) const {
  void* address = dlsym(handle_, name);
  if (address == nullptr) {
    throw EngineError(kind_.code,
                      path_ + " is no " + kind_.name + " library of sralign: " + name + " is missing");
  }
  return address;
}

}  // namespace sralign
