// Errors the engine throws; the addon turns each into a JavaScript error with the same `code`.
#pragma once

#include <stdexcept>
#include <string>

namespace sralign {

class EngineError : public std::runtime_error {
 public:
  EngineError(const char* code, const std::string& message) : std::runtime_error(message), code(code) {}
  const char* code;
};

/** An index tensor holds a value outside its range (JavaScript: RangeError, ERR_INDEX). */
class IndexError : public EngineError {
 public:
  explicit IndexError(const std::string& message) : EngineError("ERR_INDEX", message) {}
};

/** The device could not give the memory asked for (JavaScript: Error, ERR_OUT_OF_MEMORY). */
class OutOfMemoryError : public EngineError {
 public:
  explicit OutOfMemoryError(const std::string& message) : EngineError("ERR_OUT_OF_MEMORY", message) {}
};

}  // namespace sralign
