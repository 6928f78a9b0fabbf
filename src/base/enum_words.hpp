#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

namespace matriarch::base {

/// The words of an enumeration, one for each of its values, in both directions.
template <class Enum, std::size_t Count>
struct enum_words {
  std::array<std::pair<Enum, const char*>, Count> all;

  /// Empty for what is none of them.
  [[nodiscard]] constexpr const char* word_for(Enum wanted) const {
    for (const auto& [value, word] : all)
      if (value == wanted)
        return word;
    return "";
  }

  /// Nothing for a word that none of them has.
  [[nodiscard]] constexpr std::optional<Enum> value_of(std::string_view given) const {
    for (const auto& [value, word] : all)
      if (given == word)
        return value;
    return std::nullopt;
  }
};

} // namespace matriarch::base
