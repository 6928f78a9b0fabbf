#pragma once

#include <string_view>

namespace matriarch::test {

/// Whether a part is anywhere in a text.
inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

} // namespace matriarch::test
