#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

namespace matriarch::base {

/// The word for each value of an enumeration, in both directions.
template <class Enum, std::size_t Count>
struct enum_words {
  std::array<std::pair<Enum, const char*>, Count> all;

  /// Empty for an unknown value.
  [[nodiscard]] constexpr const char* word_for(Enum wanted) const {
    for (const auto& [value, word] : all)
      if (value == wanted)
        return word;
    return "";
  }

  /// Nothing for an unknown word.
  [[nodiscard]] constexpr std::optional<Enum> value_of(std::string_view given) const {
    for (const auto& [value, word] : all)
      if (given == word)
        return value;
    return std::nullopt;
  }
};

} // namespace matriarch::base
