#include "printable.h"

#include <algorithm>
#include <cstdint>

namespace sralign::comm {

namespace {

void escape(std::string& out, uint8_t byte) {
  constexpr char digits[] = "0123456789abcdef";
  out += "\\x";
  out += digits[byte >> 4];
  out += digits[byte & 15];
}

// Bytes of the UTF-8 sequence that `text` starts with; 0 where it is none, too long for what it says, or a
// control character (U+0080 to U+009F).
size_t sequenceBytes(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const size_t size = at(0) >= 0xf0 ? 4 : at(0) >= 0xe0 ? 3 : 2;
  if (at(0) < 0xc2 || at(0) > 0xf4 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  const bool overlong = (at(0) == 0xe0 && at(1) < 0xa0) || (at(0) == 0xf0 && at(1) < 0x90);
  const bool noCharacter = (at(0) == 0xed && at(1) >= 0xa0) || (at(0) == 0xf4 && at(1) >= 0x90);
  const bool control = at(0) == 0xc2 && at(1) < 0xa0;
  return overlong || noCharacter || control ? 0 : size;
}

}  // namespace

std::string printableName(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      escape(out, static_cast<uint8_t>(c));
    }
  }
  return out;
}

std::string printableText(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<uint8_t>(text[i]);
    const bool plain = byte == '\n' || byte == '\t' || (byte >= 0x20 && byte < 0x7f);
    const size_t size = plain ? 1 : byte < 0x80 ? 0 : sequenceBytes(text.substr(i));
    if (size == 0) escape(out, byte);
    out += text.substr(i, size);
    i += std::max(size, size_t{1});
  }
  return out;
}

}  // namespace sralign::comm
