#include "base/utf8.hpp"

#include <algorithm>
#include <rapidjson/encodings.h>
#include <rapidjson/memorystream.h>

namespace matriarch {

namespace {

using utf8 = rapidjson::UTF8<>;

/// The length of the character at the beginning of `text`; 0 if it is invalid. `text` is not empty.
std::size_t first_character(std::string_view text) {
  rapidjson::MemoryStream in{text.data(), text.size()};
  unsigned code_point = 0;
  return utf8::Decode(in, &code_point) ? in.Tell() : 0;
}

} // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    auto length = first_character(text);
    if (length == 0)
      return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string legible(std::string_view text, std::size_t most) {
  std::string shown;
  while (!text.empty()) {
    auto length = first_character(text);
    if (shown.size() + std::max<std::size_t>(length, 1) > most)
      return shown + "…";
    if (length == 0)
      shown += '?';
    else
      shown += text.substr(0, length);
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return shown;
}

std::string one_line(std::string_view text, std::size_t most) {
  auto shown = legible(text, most);
  std::ranges::replace_if(
      shown, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, '?');
  return shown;
}

std::string quoted(std::string_view text) {
  constexpr std::size_t longest = 100; // longer than any name that is given on purpose
  return "\"" + one_line(text, longest) + "\"";
}

} // namespace matriarch
