#pragma once

#include <string>
#include <string_view>

#include "store/etcd.hpp"

/// The wording of this folder's error messages.
namespace matriarch::store {

/// One line of at most 200 bytes: enough for a URL and etcd's longest message. More would be part
/// of a page that some other server has answered.
[[nodiscard]] inline std::string bounded(std::string_view text) {
  constexpr std::size_t most = 200;
  std::string line{text.substr(0, most)};
  if (text.size() > most) {
    // Do not cut a UTF-8 character in half.
    while (!line.empty() && (static_cast<unsigned char>(text[line.size()]) & 0xc0U) == 0x80U)
      line.pop_back();
    line += "...";
  }
  for (auto& c : line)
    if (static_cast<unsigned char>(c) < ' ')
      c = ' ';
  return line;
}

/// "a read of /service/db/state" or "a read of /service/ to /service0".
[[nodiscard]] inline std::string words_for(const key_range& keys) {
  auto text = "a read of " + bounded(keys.first);
  if (!keys.last.empty())
    text += " to " + bounded(keys.last);
  return text;
}

} // namespace matriarch::store
