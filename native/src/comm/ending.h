// The end of a process whose job has failed: the only place in the engine that prints and exits.
#pragma once

#include <string>

namespace sralign::comm {

constexpr int kDetectedFailure = 1;  // exit code where the control channel itself found the failure

// "sralign: TEXT" on stderr, past stdio, whose locks and buffers may be in any state; control characters are
// escaped. Returns when a pipe has been read, and does not block for long.
void printFailure(const std::string& text);

// Ends the process at once; nothing is run or flushed.
[[noreturn]] void endProcess(int exitCode);

}  // namespace sralign::comm
