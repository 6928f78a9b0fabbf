#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace matriarch {

/// Whether the text is valid UTF-8. Other bytes cannot be written into JSON.
[[nodiscard]] bool is_utf8(std::string_view text);

/// `text` made valid for JSON: bytes that are no UTF-8 become `?`, and a text longer than `most`
/// bytes is cut and ends in `…`.
[[nodiscard]] std::string legible(std::string_view text, std::size_t most);

/// `text` on one line for a message: like legible(), and control characters also become `?`.
[[nodiscard]] std::string one_line(std::string_view text, std::size_t most);

/// A foreign text for use in a sentence: in quotes, on one line, and shortened if it is very long.
[[nodiscard]] std::string quoted(std::string_view text);

} // namespace matriarch
