// What others say, made fit to be printed: a terminal does not obey it.
#pragma once

#include <string>
#include <string_view>

namespace sralign::comm {

// One line of printable ASCII; every other byte becomes \xNN. For names that a stranger gives himself.
std::string printableName(std::string_view text);

// Text of several lines: control characters but the ends of lines and tabs, and what is not UTF-8, become
// \xNN.
std::string printableText(std::string_view text);

}  // namespace sralign::comm
