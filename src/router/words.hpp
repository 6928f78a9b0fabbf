#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

/// Functions that parse HAProxy's texts.
namespace matriarch::router {

[[nodiscard]] inline std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    auto end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return lines;
}

/// The words of a line, separated by blanks.
[[nodiscard]] inline std::vector<std::string> words_of(std::string_view line) {
  constexpr std::string_view blanks = " \t\r";
  std::vector<std::string> words;
  for (auto begin = line.find_first_not_of(blanks); begin != std::string_view::npos;) {
    auto end = line.find_first_of(blanks, begin);
    words.emplace_back(line.substr(begin, end - begin));
    begin = line.find_first_not_of(blanks, end);
  }
  return words;
}

/// The number at the start of a text; 0 if there is none.
[[nodiscard]] inline int number_of(std::string_view text) {
  int number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

} // namespace matriarch::router
