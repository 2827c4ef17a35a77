// Libraries of sralign that are built apart, where the machine has what they need, and opened when they are
// asked for.
#pragma once

#include <string>

namespace sralign {

class SharedLibrary {
 public:
  struct Kind {
    const char* code;             // of the errors
    const char* name;             // "CUDA"
    const char* versionFunction;  // int(): the version of its interface
    int version;                  // that this build needs
    const char* help;             // how to build it
  };

  // Opens it for as long as the process lives: neither CUDA nor MPI can be unloaded safely. Throws
  // EngineError where it is missing, does not open or has another version.
  SharedLibrary(const Kind& kind, const std::string& path);

  template <typename Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void* symbol(const char* name) const;

  Kind kind_;
  std::string path_;
  void* handle_;
};

}  // namespace sralign
